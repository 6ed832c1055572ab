"""TensorProtos of requests as NumPy arrays, and back."""

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tfgen.export.serving.statuses import invalid

Arrays: TypeAlias = Mapping[str, np.ndarray]
MAX_BYTES = 256 * 2**20  # largest tensor, regardless of the number of bytes that declare it
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


def to_arrays(tensors: Mapping[str, TensorProto]) -> dict[str, np.ndarray]:
    """The inputs of a request as arrays; see `to_numpy`."""
    return {name: to_numpy(name, tensor) for name, tensor in tensors.items()}


def to_numpy(name: str, tensor: TensorProto) -> np.ndarray:
    """A `TensorProto` as an array. A few bytes that declare a huge tensor are refused.

    Args:
        name: name of the input, for messages.
        tensor: typed values or `tensor_content`.

    Raises:
        ServingError: INVALID_ARGUMENT, `tensor parsing error: NAME`.

    Source: `servables/tensorflow/predict_util.cc` of tensorflow/serving.
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
        getattr(tensor, field).extend(array.ravel().tolist())
