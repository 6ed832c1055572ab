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

    The image is the one that latents of 0 decode to, which a flow gives back. A signature that
    refuses its row all the same is left out, because TF Serving would not load the model.

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
    image = _image(functions, image_shape)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in functions.items():
            specs = function.structured_input_signature[1]
            row = {key: _row(spec, image) for key, spec in specs.items()}
            if not _answered(function, row):
                continue
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = name
            for key, value in row.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())


def _image(functions, image_shape):
    if "decode" not in functions:
        return tf.zeros([1, *image_shape], tf.uint8)
    (latents,) = functions["decode"].structured_input_signature[1].values()
    return functions["decode"](latents=tf.zeros([1, *latents.shape[1:]]))["images"]


def _row(spec, image):
    if spec.dtype == tf.uint8:
        return image
    if spec.dtype == tf.string:
        return tf.constant([tf.io.encode_png(image[0]).numpy()])
    return tf.zeros([1, *spec.shape[1:]], spec.dtype)


def _answered(function, row):
    try:
        function(**row)
    except tf.errors.InvalidArgumentError:
        return False
    return True
