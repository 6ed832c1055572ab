"""TensorProtos of requests as NumPy arrays, and back."""

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tfgen.export.serving.statuses import invalid, too_large

Arrays: TypeAlias = Mapping[str, np.ndarray]
MAX_RANK = 32  # of an array, in the oldest NumPy
STRING = 32  # bytes of a string in an array and in a tensor, without its content
AT_A_TIME = 2**20  # numbers
_TYPES = [tf.as_dtype(number) for number in types_pb2.DataType.values() if 0 < number < 100]
_SIZES = {dtype.as_datatype_enum: dtype.size for dtype in _TYPES}
_PLAIN = {
    dtype.as_datatype_enum: dtype.as_numpy_dtype
    for dtype in (tf.uint8, tf.int8, tf.int32, tf.int64, tf.float32, tf.float64)
}
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


def shapes(tensors: Mapping[str, TensorProto]) -> dict[str, tuple[int, ...]]:
    """The shapes that `TensorProto`s declare; `ServingError` for one that is not definite."""
    return {name: _shape(name, tensor) for name, tensor in tensors.items()}


def num_bytes(tensors: Mapping[str, TensorProto], max_bytes: int) -> int:
    """The size of the arrays that a request declares, regardless of its own size.

    Raises:
        ServingError: RESOURCE_EXHAUSTED: it is more than `max_bytes`; INVALID_ARGUMENT: the content
            of a tensor does not fit its shape.
    """
    total = sum(_num_bytes(name, tensor) for name, tensor in tensors.items())
    if total > max_bytes:
        raise too_large(
            f"The inputs take {total} bytes, more than {max_bytes} (--max_bytes): send fewer rows "
            "at a time"
        )
    return total


def to_arrays(tensors: Mapping[str, TensorProto]) -> dict[str, np.ndarray]:
    """The inputs of a request as arrays; `num_bytes` checks how large they become.

    Args:
        tensors: typed values, one value for all elements, or `tensor_content`.

    Raises:
        ServingError: INVALID_ARGUMENT, `tensor parsing error: NAME`.

    Source: `servables/tensorflow/predict_util.cc` of tensorflow/serving.
    """
    return {name: _array(name, tensor) for name, tensor in tensors.items()}


def _shape(name, tensor):
    declared = tensor.tensor_shape
    dims = declared.dim
    if declared.unknown_rank or len(dims) > MAX_RANK:
        raise _broken(name)
    shape = tuple([dim.size for dim in dims])
    if shape and min(shape) < 0:
        raise _broken(name)
    return shape


def _num_bytes(name, tensor):
    """The size of a tensor's array, in which each string has a header of its own."""
    count = math.prod(_shape(name, tensor))
    if tensor.dtype == types_pb2.DT_STRING:
        given = tensor.string_val
        if len(given) not in (1, count):
            raise _broken(name)
        copies = count if len(given) == 1 else 1
        return count * STRING + copies * sum(map(len, given))
    size = _SIZES.get(tensor.dtype)
    if size is None:
        raise _broken(name)
    if tensor.tensor_content and len(tensor.tensor_content) != count * size:
        raise _broken(name)
    return count * size


def _array(name, tensor):
    plain = _PLAIN.get(tensor.dtype)
    if plain is not None and tensor.tensor_content:  # as `tf.make_ndarray`, in a fifth of its time
        shape = _shape(name, tensor)
        try:
            return np.frombuffer(tensor.tensor_content, plain).copy().reshape(shape)
        except ValueError:
            raise _broken(name) from None
    try:
        dtype = tf.as_dtype(tensor.dtype)
        if dtype != dtype.base_dtype:
            raise ValueError("a reference")
        array = tf.make_ndarray(tensor)
        if dtype == tf.string:
            return np.asarray(array, object)
        if array.shape != _shape(name, tensor):
            raise ValueError("values do not match the shape")
    except (TypeError, ValueError, OverflowError, KeyError):
        raise _broken(name) from None
    return array


def _broken(name):
    return invalid(f"tensor parsing error: {name}")


def fill(tensor: TensorProto, array: np.ndarray) -> None:
    """Write an array into an empty `TensorProto` as TF Serving does: into the typed field."""
    tensor.dtype = tf.as_dtype(array.dtype).as_datatype_enum
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    field = _FIELDS.get(array.dtype.name)
    if field is None:
        tensor.tensor_content = array.tobytes()
    else:
        numbers, values = array.ravel(), getattr(tensor, field)
        for i in range(0, len(numbers), AT_A_TIME):  # A list takes up to 32 bytes for each.
            values.extend(numbers[i : i + AT_A_TIME].tolist())
