"""TFLite files converted from graphs, at one of four precisions."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from tfgen.errors import InputError
from tfgen.export import to_saved_model
from tfgen.export.litert import flatbuffer
from tfgen.export.signatures import Signatures

PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")


def convert(
    signatures: Signatures,
    precision: str,
    verbs: Iterable[str],
    calibration: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> bytes:
    """The bytes of a TFLite file that only uses builtin operations.

    - "float32": the model's own computation
    - "float16": large weights are stored as float16; computation stays in float32
    - "dynamic_int8": large weights are stored as int8; the values that they are multiplied with are
      quantized at run time
    - "int8": activations are int8 too, with scales that are determined from calibration images;
      inputs and outputs keep their dtypes

    The integers of `tfgen.models.noise.ImageNoise` are exact at every precision.

    Args:
        signatures: a `tfgen.export.signatures.Signatures` with `on_device=True`.
        precision: one of the above.
        verbs: names of the signatures to include in the file.
        calibration: arrays of inputs for each signature, by name; for "int8" only.

    Raises:
        InputError: a network of the model has an operation that TFLite lacks.
    """
    verbs = list(verbs)
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, about its deprecated interpreter
        to_saved_model.save(signatures, directory)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=verbs)
        if precision in ("dynamic_int8", "int8"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "int8":
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
            inputs = {verb: (calibration or {})[verb] for verb in verbs}
            converter.representative_dataset = lambda: _rows(inputs)
        try:
            content = converter.convert()
        except ConverterError as error:
            raise InputError(_missing_operations(str(error))) from error
    rewrite = flatbuffer.halve_weights if precision == "float16" else flatbuffer.compact
    return rewrite(content)


def _rows(calibration):
    for verb, inputs in calibration.items():
        for i in range(len(next(iter(inputs.values())))):
            yield verb, {name: value[i : i + 1] for name, value in inputs.items()}


def _missing_operations(message):
    names = sorted(set(re.findall(r"'tf\.(\w+)' op", message)))
    what = f"TFLite has no builtin operation for {', '.join(names)}" if names else message[:500]
    return f"the model cannot be exported as a TFLite file: {what}; export a SavedModel instead"
