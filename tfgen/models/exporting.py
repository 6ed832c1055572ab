"""`keras.Model.export`, which writes the signatures of `tfgen.export`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

import tfgen
from tfgen import checks
from tfgen.errors import InputError
from tfgen.files import PathLike

if TYPE_CHECKING:
    from tfgen.models.base import GenerativeModel

OPTIONS = {"tf_saved_model": (), "litert": ("precision", "images")}  # of each format


class Exporting(keras.Model):
    """The method `export` of a Keras model."""

    def export(
        self: GenerativeModel,
        filepath: PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **options: Any,
    ) -> None:
        """Export the model with the signatures of `tfgen.export.signatures`.

        The SavedModel is written into `filepath` itself, as by every Keras model, where an earlier
        SavedModel is replaced. `tfgen.export.saved_model` writes numbered versions for TF Serving.

        Args:
            filepath: a directory; for "litert" a file that ends in `.tflite`.
            format: "tf_saved_model" or "litert".
            verbose: whether to print what has been written; by default it is not printed.
            input_signature: None: the signatures have inputs of their own.
            options: for "litert", further arguments of `tfgen.export.tflite`, such as `precision`.

        Raises:
            InputError: another format, an input signature, an option that the format does not have,
                a directory that holds other files, or as for `tfgen.export.tflite`.

        Example:

        >>> import tempfile, tensorflow as tf, tfgen
        >>> directory = tempfile.mkdtemp()
        >>> tfgen.models.VAE.from_preset("vae-digits").export(directory)
        >>> sorted(tf.saved_model.load(directory).signatures)[:3]
        ['decode', 'encode', 'encode_encoded']
        """
        name = f"{self.name}: export"
        checks.choice(f"{name}: format", format, OPTIONS)
        if input_signature is not None:
            raise InputError(
                f"{name}: input_signature must be None, because the signatures have their own "
                "inputs, see tfgen.export.signatures; for others, use keras.export.ExportArchive"
            )
        for option in options:
            if option not in OPTIONS[format]:
                raise InputError(
                    f"{name}: with format={format!r} the options are "
                    f"{', '.join(OPTIONS[format]) or 'none'}, got {option}"
                )
        path = Path(filepath)
        if format == "litert":
            tfgen.export.tflite(self, path, **options)
        else:
            _replace(self, path, name)
        if verbose:
            print(f"Saved {self.name} with the signatures of tfgen at {path}")


def _replace(model, path, name):
    """Write the SavedModel beside `path`, and move it there when it is complete."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{name}: {path} is a file: a SavedModel needs a directory")
    if path.exists() and any(path.iterdir()) and not (path / "saved_model.pb").exists():
        raise InputError(f"{name}: {path} holds other files: choose another directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        new = tfgen.export.saved_model(model, temporary, version=1)
        if path.exists():
            path.rename(temporary / "old")
        try:
            new.rename(path)
        except OSError:
            if (temporary / "old").exists():
                (temporary / "old").rename(path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
