"""The card of an export: what the model is, and what the written file offers."""

import json
import platform
from pathlib import Path

import keras
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.models import preset

EXTRA = "assets.extra"  # what a SavedModel's reader leaves alone
ABOUT_THE_MODEL = ("summary", "metrics", "data", "command", "training")


def new(source, kind, **entries):
    """A JSON-able dict that names the model, its figures and what was used to export it.

    Args:
        source: a `tfgen.export.source.Source`.
        kind: "SavedModel" or "TFLite".
        entries: what else is known of the export.

    Example:

    >>> from tfgen.export import source
    >>> from tfgen.export.cards import new
    >>> new(source.Source("glow-digits"), "SavedModel")["model"]["bound"]
    'exact'
    """
    model = source.model
    about = {
        "name": source.card.get("name", model.name),
        "class": type(model).__name__,
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "num_bits": model.num_bits,
        "num_classes": model.num_classes,
        "bound": model.bound,
        "parameters": model.count_params(),
        **{key: source.card[key] for key in ABOUT_THE_MODEL if key in source.card},
        "files": {
            k: v
            for k, v in source.card.get("files", {}).items()
            if k in (preset.CONFIG, preset.WEIGHTS)
        },
    }
    environment = {
        "tfgen": tfgen.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return {"format": kind, "model": about, **entries, "environment": environment}


def read(path):
    """The card of an exported folder or file, a dict.

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
    file = place(path)
    if not file.is_file():
        raise InputError(f"{path} has no card: there is no {file}")
    return json.loads(file.read_text("utf-8"))


def place(path):
    """Where the card of an export stands: in `assets.extra`, or beside a TFLite file.

    >>> from tfgen.export.cards import place
    >>> place("phone/glow.tflite").name
    'glow.tflite.json'
    """
    path = Path(path)
    if path.suffix.lower() == ".tflite":
        return path.with_name(f"{path.name}.json")
    return path / EXTRA / preset.CARD


def tensors(specs):
    """Names with dtype and shape, null where a size is free, from `tf.TensorSpec`s by name."""
    return {
        name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
        for name, spec in sorted(specs.items())
    }
