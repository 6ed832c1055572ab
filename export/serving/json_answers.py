"""Answers in TF Serving's JSON: arrays to rows (`predictions`) and columns (`outputs`)."""

import base64
import json

import numpy as np
import orjson
import tensorflow as tf

from tfgen.export.serving import proto_tensors
from tfgen.export.serving.json_requests import COLUMNAR, FLOATS, INTEGERS
from tfgen.export.serving.statuses import invalid


def to_json(outputs, layout):
    """The body of an answer, in bytes. Floats have as few digits as give them back.

    Args:
        outputs: NumPy arrays by name.
        layout: ROW or COLUMNAR, as the request.

    Raises:
        ServingError: outputs of several sizes as rows; a type that JSON has no words for.

    Example:

    >>> import numpy as np
    >>> from tfgen.export.serving import json_answers, json_requests
    >>> json_answers.to_json({"log_prob": np.array([0.1, -2.0], "float32")}, json_requests.ROW)
    b'{"predictions":[0.1,-2.0]}'
    """
    values = {name: _plain(name, array) for name, array in outputs.items()}
    if layout == COLUMNAR:
        content = next(iter(values.values())) if len(values) == 1 else values
        return _dumped({"outputs": content}, outputs)
    size = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size is not None and len(array) != size:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)
    if len(values) == 1:
        (rows,) = values.values()
    else:
        rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _dumped({"predictions": rows}, outputs)


def _dumped(document, outputs):
    """JSON has no word for a number that is not finite; TF Serving writes NaN and Infinity."""
    arrays = outputs.values()
    if all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f"):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=lambda item: item.tolist()).encode()


def _plain(name, array):
    dtype = proto_tensors.dtype_of(array)
    if dtype == tf.string:
        encode = _as_base64 if name.endswith("_bytes") else _as_text
        flat = np.empty(array.size, object)
        flat[:] = [encode(item) for item in array.ravel()]
        return flat.reshape(array.shape).tolist()
    if dtype in FLOATS or dtype in INTEGERS or dtype == tf.bool:
        return np.ascontiguousarray(array) if array.ndim else array.tolist()
    raise invalid(f"Failed to write JSON value for tensor type: {dtype.name}")


def _as_base64(data):
    return {"b64": base64.b64encode(data).decode("ascii")}


def _as_text(data):
    return data.decode("utf-8", "replace")
