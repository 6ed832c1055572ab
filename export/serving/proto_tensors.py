"""TensorProtos from strangers as NumPy arrays, and back."""

import functools
import math

import numpy as np
import tensorflow as tf

from tfgen.export.serving.statuses import invalid

MOST_BYTES = 256 * 2**20  # of one tensor, however few bytes declare it


def to_numpy(name, tensor):
    """A `TensorProto` as an array, after checks that a few bytes cannot ask for much memory.

    Args:
        name: of the input, for messages.
        tensor: a `TensorProto`, of typed values or `tensor_content`.

    Raises:
        ServingError: INVALID_ARGUMENT, `tensor parsing error: NAME`.

    Source: `servables/tensorflow/predict_util.cc` of tensorflow/serving.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.export.serving import proto_tensors
    >>> proto_tensors.to_numpy("x", tf.make_tensor_proto([[1.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    """
    array = _plain(tensor)
    if array is not None:
        return array
    try:
        dtype = tf.as_dtype(tensor.dtype)
        if dtype != dtype.base_dtype:
            raise ValueError("a reference to a tensor")
        sizes = [dim.size for dim in tensor.tensor_shape.dim]
        count = math.prod(sizes)
        if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
            raise ValueError("a tensor of no definite shape")
        if count * dtype.size > MOST_BYTES:
            raise ValueError("a tensor that is too large")
        if dtype == tf.string and len(tensor.string_val) not in (1, count):
            raise ValueError("strings do not match the shape")
        array = tf.make_ndarray(tensor)
        if dtype == tf.string:
            array = np.asarray(array, object)
        if array.dtype != object and array.size != count:
            raise ValueError("values do not match the shape")
    except (TypeError, ValueError, OverflowError, KeyError):
        raise invalid(f"tensor parsing error: {name}") from None
    return array


def _plain(tensor):
    """The array of a tensor of well-known numbers in `tensor_content`; None for other things."""
    dtype, content = _NUMBERS.get(tensor.dtype), tensor.tensor_content
    if dtype is None or not content or tensor.tensor_shape.unknown_rank:
        return None
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if min(sizes, default=1) < 0 or math.prod(sizes) * dtype.itemsize != len(content):
        return None
    return np.frombuffer(content, dtype).reshape(sizes) if len(content) <= MOST_BYTES else None


@functools.lru_cache(maxsize=64)
def _dtype_named(dtype):
    return tf.string if dtype.kind == "O" else tf.as_dtype(dtype)


def dtype_of(array):
    """The TensorFlow dtype of an array; of objects it is string."""
    return _dtype_named(array.dtype)


@functools.lru_cache(maxsize=64)
def dtype_numbered(number):
    """The TensorFlow dtype of a number in a message."""
    return tf.as_dtype(number)


def fill(tensor, array):
    """Write an array into a `TensorProto` as TF Serving does: into the typed field.

    Args:
        tensor: an empty `TensorProto`.
        array: a NumPy array.

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
    field = _FIELDS.get(tensor.dtype)
    if field is None:
        tensor.tensor_content = array.tobytes()
    else:
        getattr(tensor, field).extend(array.ravel().tolist())


_NUMBERS = {
    dtype.as_datatype_enum: np.dtype(dtype.as_numpy_dtype)
    for dtype in (tf.float32, tf.float64, tf.int32, tf.int64, tf.uint8)
}
_FIELDS = {
    tf.float32.as_datatype_enum: "float_val",
    tf.float64.as_datatype_enum: "double_val",
    tf.int32.as_datatype_enum: "int_val",
    tf.int16.as_datatype_enum: "int_val",
    tf.int8.as_datatype_enum: "int_val",
    tf.uint8.as_datatype_enum: "int_val",
    tf.uint16.as_datatype_enum: "int_val",
    tf.int64.as_datatype_enum: "int64_val",
    tf.uint32.as_datatype_enum: "uint32_val",
    tf.uint64.as_datatype_enum: "uint64_val",
    tf.bool.as_datatype_enum: "bool_val",
    tf.string.as_datatype_enum: "string_val",
}
