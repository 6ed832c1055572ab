"""TensorProtos of requests as NumPy arrays, and back."""

import functools
import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tfgen.export.serving.statuses import invalid

MAX_BYTES = 256 * 2**20  # of one tensor, however few bytes declare it
_FIELDS = {
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int_val"),
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "float32": "float_val",
    "float64": "double_val",
    "bool": "bool_val",
    "object": "string_val",
}


def to_numpy(name: str, tensor: TensorProto) -> np.ndarray:
    """A `TensorProto` as an array. A few bytes that declare a huge tensor are refused.

    Args:
        name: of the input, for messages.
        tensor: typed values or `tensor_content`.

    Raises:
        ServingError: INVALID_ARGUMENT, `tensor parsing error: NAME`.

    Source: `servables/tensorflow/predict_util.cc` of tensorflow/serving.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.export.serving import proto_tensors
    >>> proto_tensors.to_numpy("x", tf.make_tensor_proto([[1.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    """
    try:
        dtype = tf.as_dtype(tensor.dtype)
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        count = math.prod(shape)
        declared = not tensor.tensor_shape.unknown_rank and min(shape, default=0) >= 0
        if dtype != dtype.base_dtype or not declared or count * dtype.size > MAX_BYTES:
            raise ValueError("a reference, no definite shape, or too large")
        if dtype == tf.string and len(tensor.string_val) not in (1, count):
            raise ValueError("strings do not match the shape")
        array = tf.make_ndarray(tensor)
        if dtype == tf.string:
            return np.asarray(array, object)
        if array.size != count:
            raise ValueError("values do not match the shape")
    except (TypeError, ValueError, OverflowError, KeyError):
        raise invalid(f"tensor parsing error: {name}") from None
    return array


@functools.lru_cache(maxsize=64)
def _dtype_named(dtype):
    return tf.string if dtype.kind == "O" else tf.as_dtype(dtype)


def dtype_of(array: np.ndarray) -> tf.DType:
    """The TensorFlow dtype of an array; of objects it is string."""
    return _dtype_named(array.dtype)


def fill(tensor: TensorProto, array: np.ndarray) -> None:
    """Write an array into an empty `TensorProto` as TF Serving does: into the typed field.

    Example:

    >>> import numpy as np
    >>> from tensorflow.core.framework import tensor_pb2
    >>> from tfgen.export.serving import proto_tensors
    >>> tensor = tensor_pb2.TensorProto()
    >>> proto_tensors.fill(tensor, np.array([1.0, 2.0], "float32"))
    >>> list(tensor.float_val), tensor.tensor_content
    ([1.0, 2.0], b'')
    """
    tensor.dtype = dtype_of(array).as_datatype_enum
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    field = _FIELDS.get(array.dtype.name)
    if field is None:
        tensor.tensor_content = array.tobytes()
    else:
        getattr(tensor, field).extend(array.ravel().tolist())
