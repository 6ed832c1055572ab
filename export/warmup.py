"""Warm-up: requests that TF Serving runs by itself before it announces a new version.

The first request to a signature takes longer than the next ones; after a warm-up, no user has to
wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfgen.files import PathLike

FILE = "tf_serving_warmup_requests"


def write(
    path: PathLike,
    functions: Mapping[str, tf.types.experimental.ConcreteFunction],
    image_shape: tuple[int, ...],
    *,
    model_name: str,
) -> None:
    """Write one request of one row for each signature.

    Args:
        path: path of the TFRecord file of `PredictionLog`s, which belongs in `assets.extra`.
        functions: a dict from a signature's name to its concrete function.
        image_shape: (H, W, C), of the image files for the `*_encoded` signatures.
        model_name: the model's name on the server; TF Serving does not check it.

    Source: `g3doc/saved_model_warmup.md` of tensorflow/serving.

    Example:

    >>> import tempfile, tensorflow as tf, tfgen
    >>> from tfgen.export import warmup
    >>> from tfgen.export.signatures import Signatures
    >>> functions = Signatures(tfgen.zoo.load("vae-digits")).functions
    >>> path = tempfile.mkdtemp() + "/" + warmup.FILE
    >>> warmup.write(path, functions, (8, 8, 1), model_name="vae-digits")
    >>> sum(1 for _ in tf.data.TFRecordDataset(path)) == len(functions)
    True
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in functions.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = name
            for key, spec in function.structured_input_signature[1].items():
                value = _row(spec, image_shape)
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())


def _row(spec, image_shape):
    if spec.dtype == tf.string:
        return [tf.io.encode_png(tf.zeros(image_shape, tf.uint8)).numpy()]
    return tf.zeros([1, *spec.shape[1:]], spec.dtype)
