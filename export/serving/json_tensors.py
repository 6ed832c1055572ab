"""TF Serving's JSON: arrays in rows (`instances`) or columns (`inputs`), examples, and results."""

import base64
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from tfgen.export.serving.limits import MAX_MEMORY
from tfgen.export.serving.proto_tensors import Arrays
from tfgen.export.serving.statuses import ServingError, invalid, too_large

ROW, COLUMNAR = "instances", "inputs"
SHORT = 64 * 2**10  # bytes of a body that take little memory in any case
MEMORY = {b",": 40, b"[": 64, b"{": 240}  # bytes of a value, of a list, and of an object
MAX_WITH_NAN = 4 * 2**20  # bytes of a body that Python's own parser reads, which takes seconds
MAX_SHOWN = 200  # characters
MAX_DEPTH = 64  # levels of nested lists
INTEGERS = {
    dtype: (dtype.min, dtype.max)
    for dtype in (tf.uint8, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint32, tf.uint64)
}
FLOATS = {tf.float32: 2**24, tf.float64: 2**53}  # above these, some integers cannot be represented
_TYPES: dict[tf.DType, set] = {
    **{dtype: {int} for dtype in INTEGERS},
    **{dtype: {int, float} for dtype in FLOATS},
    tf.bool: {bool},
    tf.string: {str, dict},
}
_STANDARD_BASE64 = str.maketrans("-_", "+/")


def memory(body: bytes) -> int:
    """The number of bytes of memory that a body takes as Python's objects, at most.

    Raises:
        ServingError: RESOURCE_EXHAUSTED: it is too much. `[[],[], ...]` takes 30 times its size.
    """
    if len(body) <= SHORT:
        return len(body)
    taken = len(body) + sum(size * body.count(sign) for sign, size in MEMORY.items())
    if taken > MAX_MEMORY:
        raise too_large(
            f"JSON of {len(body)} bytes takes {taken} bytes of memory, more than {MAX_MEMORY}: "
            "send fewer rows at a time, or use gRPC"
        )
    return taken


def parse(body: bytes) -> dict[str, Any]:
    """The object in the body of a request; `memory` says how much memory it takes.

    NaN and Infinity are accepted, as by TF Serving, in bodies of up to 4 MiB.

    Raises:
        ServingError: INVALID_ARGUMENT: the body is not a JSON object.

    Source: `util/json_tensor.cc` of tensorflow/serving.
    """
    try:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            if len(body) > MAX_WITH_NAN:
                raise
            document = json.loads(body, parse_int=_integer, parse_float=_double)
            json.dumps(document, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except (ValueError, RecursionError) as error:  # of JSON, of Unicode, or of _double
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"The body must be a JSON object, got {_shown(document)}")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request asks for; empty for the default one."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(f"Key 'signature_name' must be a string, got {_shown(name)}")
    return name


def to_arrays(
    document: Mapping[str, Any], infos: Mapping[str, TensorInfo]
) -> tuple[str, dict[str, np.ndarray]]:
    """The layout of a request, ROW or COLUMNAR, and its arrays by name.

    Args:
        document: the object of the body.
        infos: the signature's inputs by name.

    Raises:
        ServingError: the request is invalid; the message names the input. An integer that does not
            fit its type is refused too, whereas TF Serving would wrap it around.
    """
    layouts = [key for key in (ROW, COLUMNAR) if key in document]
    if len(layouts) != 1:
        raise invalid("The request must have one of the keys 'inputs' and 'instances'")
    layout, value = layouts[0], document[layouts[0]]
    if layout == ROW:
        if not isinstance(value, list) or not value:
            raise invalid("Key 'instances' must be a list that is not empty")
        if _is_object(value[0]):
            value = _columns(value, infos)
    if not _is_object(value):
        if len(infos) > 1:
            raise invalid(f"Key '{layout}' must name the inputs {', '.join(sorted(infos))}")
        value = dict.fromkeys(infos, value)
    for name in infos:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return layout, {name: _array(name, value[name], info) for name, info in infos.items()}


def to_json(outputs: Arrays, layout: str) -> bytes:
    """The body of an answer in a layout. Floats have the fewest digits that round-trip.

    Raises:
        ServingError: outputs of several sizes as rows; a type that JSON cannot represent.
    """
    values = {name: _value(name, array) for name, array in outputs.items()}
    if layout == COLUMNAR:
        content = next(iter(values.values())) if len(values) == 1 else values
        return _dumped({"outputs": content}, outputs)
    size = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        size = len(array) if size is None else size
        if len(array) != size:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
    if len(values) == 1:
        (rows,) = values.values()
    else:
        rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _dumped({"predictions": rows}, outputs)


def to_examples(document: Mapping[str, Any]) -> Input:
    """The examples of a request, with their context if it has one.

    Raises:
        ServingError: a value that cannot be a feature, for example.

    Source: `util/json_tensor.cc` of tensorflow/serving.
    """
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        raise invalid("Key 'examples' must be a list that is not empty")
    examples = [_example(item) for item in examples]
    if "context" not in document:
        return Input(example_list={"examples": examples})
    context = _example(document["context"])
    return Input(example_list_with_context={"examples": examples, "context": context})


def of_results(result: ClassificationResult | RegressionResult) -> bytes:
    """The body of an answer: for each example a list of [label, score], or a number."""
    if isinstance(result, RegressionResult):
        return orjson.dumps({"results": [row.value for row in result.regressions]})
    rows = [[[c.label, c.score] for c in row.classes] for row in result.classifications]
    return orjson.dumps({"results": rows})


def _bytes(name, value):
    """The bytes of a string, or of an object whose only key is `b64`."""
    if isinstance(value, str):
        return value.encode()
    if _is_object(value):
        raise invalid(f"Input {name}: expected a string or only the key b64, got {_shown(value)}")
    text = value["b64"].translate(_STANDARD_BASE64).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise invalid(f"Input {name}: unable to base64 decode {_shown(text)}") from None


def _shown(value):
    """A JSON value in a message, shortened, of which no more is written than is shown."""
    if isinstance(value, str):
        value = value[:MAX_SHOWN]
    pieces, size = [], 0
    try:
        for piece in json.JSONEncoder().iterencode(value):
            pieces.append(piece)
            size += len(piece)
            if size >= MAX_SHOWN:
                break
        return "".join(pieces)[:MAX_SHOWN]
    except RecursionError:
        return "(too deep to show)"


def _double(text):
    number = float(text)
    if math.isinf(number):
        raise ValueError("Number too big to be stored in double.")
    return number


def _integer(text):
    """Like orjson and TF Serving's parser, a double where 64 bits do not suffice."""
    double = _double(text)  # refuses before int() reads thousands of digits
    number = int(text)
    return number if -(2**63) <= number < 2**64 else double


def _is_object(value):
    """Whether a JSON value is an object that does not stand for bytes."""
    is_bytes = isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)
    return isinstance(value, dict) and not is_bytes


def _columns(rows, infos):
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(infos):
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object: {_shown(row)} "
                f"keys must be equal to: {','.join(sorted(infos))}"
            )
    return {name: [row[name] for row in rows] for name in infos}


def _array(name, value, info):
    dtype = tf.as_dtype(info.dtype)
    if dtype not in _TYPES:
        text = f"Input {name}: JSON cannot be converted to {dtype.name}"
        raise ServingError("UNIMPLEMENTED", text)
    shape, items = _flat(name, value)
    if not set(map(type, items)) <= _TYPES[dtype]:  # True is an integer to Python
        wrong = next(item for item in items if type(item) not in _TYPES[dtype])
        raise invalid(f"Input {name} must be {dtype.name}, got {_shown(wrong)}")
    if dtype == tf.string:
        array = np.empty(len(items), object)
        array[:] = [_bytes(name, item) for item in items]
        return array.reshape(shape)
    if items and dtype != tf.bool and not _fit(items, dtype):
        raise invalid(f"Input {name} has a number that {dtype.name} cannot represent")
    return np.array(items, dtype.as_numpy_dtype).reshape(shape)


def _flat(name, value):
    """The shape of nested lists, and the list of what they contain."""
    shape: list[int] = []
    items = [value]
    while items and type(items[0]) is list:
        if len(shape) == MAX_DEPTH:
            raise invalid(f"Input {name} has more than {MAX_DEPTH} dimensions")
        if set(map(type, items)) != {list} or len(set(map(len, items))) > 1:
            raise invalid(f"Input {name}: lists at level {len(shape)} differ in length")
        shape.append(len(items[0]))
        items = items[0] if len(items) == 1 else list(itertools.chain.from_iterable(items))
    return shape, items


def _fit(items, dtype):
    """Whether a type holds all numbers: none becomes infinite, and no integer is rounded."""
    if dtype in INTEGERS:
        low, high = INTEGERS[dtype]
        return low <= min(items) and max(items) <= high
    sizes = np.abs(np.array(items, np.float64))
    if np.any((sizes > dtype.max) & np.isfinite(sizes)):
        return False
    exact = not np.any(sizes >= FLOATS[dtype])
    return exact or not any(type(item) is int and abs(item) >= FLOATS[dtype] for item in items)


def _dumped(document, outputs):
    """NaN and Infinity, which are not JSON, are written as TF Serving writes them."""
    if all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f"):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=lambda item: item.tolist()).encode()


def _value(name, array):
    dtype = tf.as_dtype(array.dtype)
    if dtype == tf.string:
        flat = np.empty(array.size, object)
        if name.endswith("_bytes"):
            flat[:] = [{"b64": base64.b64encode(item).decode()} for item in array.ravel()]
        else:
            flat[:] = [item.decode("utf-8", "replace") for item in array.ravel()]
        return flat.reshape(array.shape).tolist()
    if dtype in _TYPES:
        return np.ascontiguousarray(array) if array.ndim else array.tolist()
    raise invalid(f"Failed to write JSON value for tensor type: {dtype.name}")


def _example(value):
    if not isinstance(value, dict):
        raise invalid(f"Example must be a JSON object, got {_shown(value)}")
    lists = {name: x if isinstance(x, list) else [x] for name, x in value.items()}
    return Example(features={"feature": {name: _feature(name, x) for name, x in lists.items()}})


def _feature(name, items):
    kinds = set(map(type, items))
    if kinds <= {str, dict}:
        return Feature(bytes_list={"value": [_bytes(name, item) for item in items]})
    if kinds == {float}:
        return Feature(float_list={"value": items})
    if kinds <= {int, bool}:
        if not all(-(2**63) <= item < 2**63 for item in items):
            raise invalid(f"Feature {name} has an integer of more than 64 bits")
        return Feature(int64_list={"value": list(map(int, items))})
    raise invalid(f"Feature {name} must be numbers or strings of one type, got {_shown(items)}")
