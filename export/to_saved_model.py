"""SavedModels, as TF Serving reads them."""

import os
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from tfgen import zoo
from tfgen.errors import InputError
from tfgen.export.signatures import Signatures


def saved_model(model, directory, version=None):
    """Write `directory/<version>/`, a SavedModel with one signature a verb.

    The signatures are those of `tfgen.export.signatures.Signatures`; `serving_default` is
    `log_prob`. The folder appears under its number only when it is complete, so that a TF Serving
    which watches `directory` never sees half of it.

    Args:
        model: a model, the name of a pretrained one, or a run directory.
        directory: holds a folder for each version; is made if missing.
        version: a positive integer; by default one more than the highest there is.

    Returns:
        The path of the new folder.

    Raises:
        InputError: a version that exists, or that is no positive integer; an unknown model.

    Example:

    >>> import tempfile, tensorflow as tf, tfgen
    >>> path = tfgen.export.saved_model("vae-digits", tempfile.mkdtemp())
    >>> path.name, sorted(tf.saved_model.load(str(path)).signatures)[:3]
    ('1', ['decode', 'encode', 'log_prob'])
    """
    model = zoo.load(model) if isinstance(model, (str, os.PathLike)) else model
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file: a SavedModel needs a directory")
    versions = [int(p.name) for p in directory.glob("*") if p.is_dir() and p.name.isdecimal()]
    if version is None:
        version = max(versions, default=0) + 1
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"version must be a positive integer, got {version!r}")
    target = directory / str(version)
    if target.exists():
        raise InputError(f"{target} exists: choose another version")
    directory.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=directory, prefix="tmp-"))
    try:
        write(model, temporary)
        temporary.chmod(0o755)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def write(model, directory):
    """The SavedModel of a model into this very directory."""
    module = Signatures(model)
    signatures = {**module.functions, "serving_default": module.functions["log_prob"]}
    tf.saved_model.save(module, str(directory), signatures=signatures)
