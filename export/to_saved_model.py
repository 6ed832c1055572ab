"""SavedModels, as TF Serving reads them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import tensorflow as tf

from tfgen import checks
from tfgen.errors import InputError
from tfgen.export import cards, warmup
from tfgen.export.signatures import DEFAULT, Signatures
from tfgen.export.source import Source
from tfgen.files import (
    PathLike,
    for_tensorflow,
    reason_in,
    sha256,
    write_directory_atomically,
    write_json,
)
from tfgen.models.base import GenerativeModel

FINGERPRINTS = (
    "saved_model_checksum",
    "graph_def_program_hash",
    "signature_def_hash",
    "saved_object_graph_hash",
    "checkpoint_hash",
)


def saved_model(
    model: GenerativeModel | PathLike, base_dir: PathLike, version: int | None = None
) -> Path:
    """Write `base_dir/<version>/`, a SavedModel with the signatures of `tfgen.export.signatures`.

    `serving_default` is `log_prob`. In addition to the graph and the weights, the directory holds

    - `assets.extra/tf_serving_warmup_requests`, which TF Serving runs before it announces the
      version
    - `assets.extra/card.json`: the model's figures with their protocol, every signature, the
      fingerprint that TensorFlow gave the SavedModel, and the SHA-256 of each file

    A model that was trained in half precision is exported in float32, in which a flow gives its
    images back; the card says so under `networks`. Own networks given to a VAE keep their dtype
    policy.

    The directory gets its number only when it is complete, so that a TF Serving process that
    watches `base_dir` never reads an incomplete version.

    Args:
        model: a model, the name of a pretrained one, or a run directory.
        base_dir: the directory that holds one directory per version; created if missing.
        version: a positive integer; by default one more than the highest existing version.

    Returns:
        The path of the new directory.

    Raises:
        InputError: a version that exists, or that is not a positive integer; an unknown model.

    Example:

    >>> import tempfile, tensorflow as tf, tfgen
    >>> path = tfgen.export.saved_model("vae-digits", tempfile.mkdtemp())
    >>> path.name, sorted(tf.saved_model.load(str(path)).signatures)[:3]
    ('1', ['decode', 'encode', 'encode_encoded'])
    """
    base_dir = for_tensorflow(base_dir)
    if base_dir.exists() and not base_dir.is_dir():
        raise InputError(f"{base_dir} is a file: a SavedModel needs a directory")
    if version is not None:
        version = checks.integer("version", version, 1, 2**63 - 1)
        if (base_dir / str(version)).exists():
            raise InputError(f"{base_dir / str(version)} exists: choose another version")
    source = Source(model)

    def next_version():
        found = [int(p.name) for p in base_dir.iterdir() if p.name.isdecimal()]
        return str(max(found, default=0) + 1)

    return write_directory_atomically(
        base_dir,
        next_version if version is None else str(version),
        lambda directory: _write(source, directory),
    )


def _write(source, directory):
    with source.model.precomputed() as variables:
        module = Signatures(source.model, precomputed=variables)
    save(module, directory)
    extra = directory / cards.EXTRA
    extra.mkdir()
    functions = module.functions
    named = {**functions, "serving_default": functions[DEFAULT]}
    fingerprint = tf.saved_model.experimental.read_fingerprint(str(directory))
    content = cards.new(
        source,
        "SavedModel",
        signatures={name: cards.signature(named[name]) for name in sorted(named)},
        # A string, because not every JSON reader keeps 64-bit integers.
        fingerprint={key: str(getattr(fingerprint, key)) for key in FINGERPRINTS},
    )
    shape = source.model.image_shape
    with _os_errors(directory):
        warmup.write(extra / warmup.FILE, functions, shape, model_name=content["model"]["name"])
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    content["files"] = {str(p.relative_to(directory)): sha256(p) for p in files}
    write_json(cards.path_of(directory), content)


def save(module: Signatures, directory: PathLike) -> None:
    """Write the graph and the weights of `Signatures` directly into a directory.

    Raises:
        OSError: the disk is full, for instance.
    """
    functions = module.functions
    signatures = {**functions, "serving_default": functions[DEFAULT]}
    with _os_errors(directory):
        tf.saved_model.save(module, str(directory), signatures=signatures)


@contextlib.contextmanager
def _os_errors(directory):
    """Errors of TensorFlow about a file that cannot be written become those of Python."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = reason_in(error.message)
        if reason is None:
            raise
        raise OSError(reason, os.strerror(reason), str(directory)) from error
