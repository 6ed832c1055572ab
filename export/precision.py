"""The number formats of TFLite files."""

import re
import tempfile
import warnings

import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from tfgen.errors import InputError
from tfgen.export import flatbuffer, to_saved_model

PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")


def converted(signatures, precision, verbs, calibration=None):
    """The bytes of a TFLite file of builtin operations only.

    - "float32": as the model computes
    - "float16": large weights kept as float16, computation in float32
    - "dynamic_int8": large weights kept as int8, activations quantized as they come
    - "int8": activations too are int8, on scales found from calibration images; inputs and outputs
      stay what they are. The integers of `tfgen.models.noise.ImageNoise` are exact at every
      precision.

    Args:
        signatures: a `tfgen.export.signatures.Signatures` with `on_device=True`.
        precision: one of the above.
        verbs: which of the signatures the file gets.
        calibration: arrays of inputs for each signature, by name; for "int8" only.

    Raises:
        InputError: a network of the model has an operation that TFLite lacks.
    """
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, of its interpreter's retirement
        to_saved_model.save(signatures, directory)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=list(verbs))
        if precision in ("dynamic_int8", "int8"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "int8":
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
            converter.representative_dataset = lambda: _rows(
                {verb: calibration[verb] for verb in verbs}
            )
        try:
            content = converter.convert()
        except ConverterError as error:
            raise InputError(_lacking(str(error))) from error
    rewrite = flatbuffer.halve_weights if precision == "float16" else flatbuffer.compact
    return rewrite(content)


def _rows(calibration):
    for verb, inputs in calibration.items():
        count = len(next(iter(inputs.values())))
        for i in range(count):
            yield verb, {name: value[i : i + 1] for name, value in inputs.items()}


def _lacking(message):
    names = sorted(set(re.findall(r"'tf\.(\w+)' op", message)))
    what = f"TFLite has no builtin operation for {', '.join(names)}" if names else message[:500]
    return f"the model cannot become a TFLite file: {what}; it can become a SavedModel"
