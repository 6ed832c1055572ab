"""The card of an export: a description of the model and of the written file."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import quality
from tfgen.export.source import Source
from tfgen.files import PathLike, read_json
from tfgen.models import preset

EXTRA = "assets.extra"  # the directory of a SavedModel that TensorFlow does not read
FROM_CARD = ("summary", "metrics", "data", "command", "training", "sampling")


def new(source: Source, kind: str, **entries: Any) -> dict[str, Any]:
    """A JSON-serializable dict of the model, its metrics and the software that exported it.

    Args:
        source: a `tfgen.export.source.Source`.
        kind: "SavedModel" or "TFLite".
        entries: further entries of the card.

    Example:

    >>> from tfgen.export import source
    >>> from tfgen.export.cards import new
    >>> new(source.Source("glow-digits"), "SavedModel")["model"]["bound"]
    'exact density of the dequantized image'
    """
    model, card = source.model, source.card
    digests = card.get("files", {})
    problem = quality.problem(card)
    about = {
        "name": card.get("name", model.name),
        "class": type(model).__name__,
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "num_bits": model.num_bits,
        "num_classes": model.num_classes,
        "bound": model.bound,
        "parameters": model.count_params(),
        **{key: card[key] for key in FROM_CARD if key in card},
        **({"problem": problem, "metrics": _finite(card["metrics"])} if problem else {}),
        "files": {k: digests[k] for k in digests if k in (preset.CONFIG, preset.WEIGHTS)},
    }
    environment = {
        "tfgen": tfgen.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    head = {"format": kind, "model": about, "networks": source.networks}
    return {**head, **entries, "environment": environment}


def card(path: PathLike) -> dict[str, Any]:
    """The card of an exported directory or file, a dict.

    Args:
        path: what `tfgen.export.saved_model` or `tfgen.export.tflite` returned.

    Raises:
        InputError: there is no card.

    Example:

    >>> import tempfile, tfgen
    >>> path = tfgen.export.saved_model("vae-digits", tempfile.mkdtemp())
    >>> card = tfgen.export.card(path)
    >>> card["signatures"]["encode"]["outputs"]
    {'latents': {'dtype': 'float32', 'shape': [None, 8]}}
    """
    file = path_of(path)
    if not file.is_file():
        raise InputError(f"{path} has no card: there is no {file}")
    return read_json(file)


def path_of(export: PathLike) -> Path:
    """The path of an export's card: in `assets.extra`, or beside a TFLite file.

    >>> from tfgen.export.cards import path_of
    >>> path_of("phone/glow.tflite").name
    'glow.tflite.json'
    """
    export = Path(export)
    if export.suffix.lower() == ".tflite":
        return export.with_name(f"{export.name}.json")
    return export / EXTRA / preset.CARD


def signature(function: tf.types.experimental.ConcreteFunction) -> dict[str, Any]:
    """Names, dtypes and shapes of a signature's inputs and outputs; null for an unknown size."""
    return {
        "inputs": _tensors(function.structured_input_signature[1]),
        "outputs": _tensors(function.structured_outputs),
    }


def _finite(metrics):
    """The metrics that JSON can represent."""
    return {name: metric for name, metric in metrics.items() if math.isfinite(metric["value"])}


def _tensors(specs):
    return {
        name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
        for name, spec in sorted(specs.items())
    }
