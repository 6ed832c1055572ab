"""TFLite files, for devices."""

import os
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfgen import zoo
from tfgen.errors import InputError
from tfgen.export import to_saved_model
from tfgen.models.preset import write_atomically

PRECISIONS = ("float32",)


def tflite(model, file, precision="float32"):
    """Write one TFLite file with a signature for each verb, builtin operations only.

    The signatures are those of `tfgen.export.signatures.Signatures`. Before the file takes its name
    it is run with LiteRT, and its log-likelihoods are compared with the model's.

    Args:
        model: a model, the name of a pretrained one, or a run directory.
        file: the path to write, by convention ending in `.tflite`.
        precision: of the weights: "float32".

    Returns:
        The path of the file.

    Raises:
        InputError: an unknown precision or model, a directory that does not exist.

    Example:

    >>> import tempfile, numpy as np, tfgen
    >>> from ai_edge_litert.interpreter import Interpreter
    >>> path = tfgen.export.tflite("vae-digits", tempfile.mkdtemp() + "/vae.tflite")
    >>> decode = Interpreter(str(path)).get_signature_runner("decode")
    >>> decode(latents=np.zeros((3, 8), "float32"))["images"].shape
    (3, 8, 8, 1)
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    file = Path(file)
    if file.is_dir():
        raise InputError(f"{file} is a directory: give the name of a file")
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no directory {file.parent}")
    model = zoo.load(model) if isinstance(model, (str, os.PathLike)) else model
    with tempfile.TemporaryDirectory() as directory:
        to_saved_model.write(model, directory)
        verbs = ["log_prob", "encode", "decode", "sample", "reconstruct"]
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=verbs)
        content = converter.convert()
    _check(content, model)
    write_atomically(file, lambda path: path.write_bytes(content))
    return file


def _check(content, model):
    images = np.asarray(model.sample(4, seed=0))
    runner = Interpreter(model_content=content).get_signature_runner("log_prob")
    found = runner(images=images)["log_prob"]
    np.testing.assert_allclose(found, model.log_prob(images), rtol=1e-4)
