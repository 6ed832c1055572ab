"""Requests in TF Serving's JSON: rows (`instances`) and columns (`inputs`) to arrays."""

import base64
import binascii
import itertools
import json
import math

import numpy as np
import orjson
import tensorflow as tf

from tfgen.export.serving.statuses import ServingError, invalid

ROW, COLUMNAR = "instances", "inputs"
DEEPEST = 64  # lists in lists
INTEGERS = {
    tf.uint8: (0, 2**8 - 1),
    tf.int8: (-(2**7), 2**7 - 1),
    tf.int16: (-(2**15), 2**15 - 1),
    tf.int32: (-(2**31), 2**31 - 1),
    tf.int64: (-(2**63), 2**63 - 1),
    tf.uint32: (0, 2**32 - 1),
    tf.uint64: (0, 2**64 - 1),
}
FLOATS = {tf.float32: np.float32, tf.float64: np.float64}
_SHORT = {"float32": "float", "float64": "double"}
_PARSE_ERRORS = {  # Python's words for what went wrong, and those of TF Serving's parser
    "Expecting value": "Invalid value.",
    "Extra data": "The document root must not be followed by other values.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma after a member or an element.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}


def parse(body):
    """The object in the body of a request.

    Raises:
        ServingError: INVALID_ARGUMENT, with the words of TF Serving's parser.

    Source: `util/json_tensor.cc` of tensorflow/serving.

    Example:

    >>> from tfgen.export.serving import json_requests
    >>> json_requests.parse(b'{"inputs": [1.5]}')
    {'inputs': [1.5]}
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:  # NaN perhaps, which TF Serving takes, or an error to name
            document = json.loads(body, parse_int=_integer, parse_float=_double)
            json.dumps(document, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except json.JSONDecodeError as error:
        text = _PARSE_ERRORS.get(error.msg, error.msg)
        raise invalid(f"JSON Parse error: {text} at offset: {error.pos}") from None
    except UnicodeDecodeError as error:
        text = "Invalid encoding in string."
        raise invalid(f"JSON Parse error: {text} at offset: {error.start}") from None
    except UnicodeEncodeError:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    except RecursionError:
        raise invalid("JSON Parse error: lists or objects are nested too deeply") from None
    if not isinstance(document, dict):
        raise invalid("JSON Value: ", shown(document), " Is not object")
    return document


def signature_name(document):
    """The signature that a request asks for; empty for the default one.

    Raises:
        ServingError: it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            "JSON Value: ",
            shown(document),
            " not formatted correctly. 'signature_name' key must be a string value.",
        )
    return name


def to_arrays(document, infos):
    """The tensors of a request.

    Args:
        document: the object of the body.
        infos: the `TensorInfo`s of the signature's inputs by name.

    Returns:
        ROW or COLUMNAR, and a dict of NumPy arrays.

    Raises:
        ServingError: with TF Serving's texts; also where an integer does not fit its type, which
            TF Serving would wrap round.

    Example:

    >>> import tensorflow as tf
    >>> from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
    >>> from tfgen.export.serving import json_requests
    >>> infos = {"x": TensorInfo(dtype=tf.uint8.as_datatype_enum)}
    >>> format, arrays = json_requests.to_arrays({"instances": [[1, 2], [3, 4]]}, infos)
    >>> format, arrays["x"].dtype.name, arrays["x"].shape
    ('instances', 'uint8', (2, 2))
    """
    if ROW in document and COLUMNAR in document:
        raise invalid(
            "JSON Value: ",
            shown(document),
            " Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )
    if ROW in document:
        rows = document[ROW]
        if not isinstance(rows, list):
            raise invalid(
                "JSON Value: ", shown(document), " Excepting 'instances' to be an list/array"
            )
        if not rows:
            raise invalid("JSON Value: ", shown(document), " No values in 'instances' array")
        return ROW, _from_rows(rows, infos)
    if COLUMNAR in document:
        return COLUMNAR, _from_columns(document[COLUMNAR], infos)
    raise invalid("Missing 'inputs' or 'instances' key")


def shown(value):
    """A JSON value in a message: never longer than a message may be."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "(too deep to show)"
    return text if len(text) <= 1024 else text[:1024]


def _double(text):
    number = float(text)
    if math.isinf(number):
        raise invalid("JSON Parse error: Number too big to be stored in double.")
    return number


def _integer(text):
    """What does not fit 64 bits is a double, to orjson and to TF Serving's parser."""
    double = _double(text)  # refuses before int() reads thousands of digits
    number = int(text)
    return number if -(2**63) <= number < 2**64 else double


def _from_rows(rows, infos):
    named = isinstance(rows[0], dict) and not is_base64(rows[0])
    if len(infos) > 1 and not isinstance(rows[0], dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if named:
        return _from_named_rows(rows, infos)
    for i, row in enumerate(rows):
        if isinstance(row, dict) and not is_base64(row):
            raise invalid(f"Expecting value/list but got object at item {i} of input list")
    name = min(infos)
    return {name: _stacked(rows, infos[name], lambda i: f"{i} of 'instances' list.")}


def _from_named_rows(rows, infos):
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or is_base64(row):
            raise invalid(f"Expecting object but got list at item {i} of input list")
        for name in row:
            if name not in infos:
                raise invalid(
                    f"Failed to process element: {i} key: {name} of 'instances' list. Error: "
                    f"INVALID_ARGUMENT: JSON object: does not have named input: {name}"
                )
        if set(row) != set(infos):
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object: {shown(row)} "
                f"keys must be equal to: {','.join(sorted(infos))}"
            )

    def column(name):
        def place(i):
            return f"{i} key: {name} of 'instances' list."

        return _stacked([row[name] for row in rows], infos[name], place)

    return {name: column(name) for name in infos}


def _stacked(rows, info, place):
    """Rows of one shape as one array, or what is wrong with the first that differs."""
    dtype = _known(info)
    array = _fast(rows, dtype)
    if array is not None:
        return array
    arrays = []
    for i, row in enumerate(rows):
        try:
            arrays.append(_array(row, dtype))
            first = arrays[0]
            if arrays[i].size != first.size:
                raise invalid(f"Expecting tensor size: {first.size} but got: {arrays[i].size}")
            if arrays[i].shape != first.shape:
                raise invalid(f"Expecting shape {_dims(first)} but got: {_dims(arrays[i])}")
        except ServingError as error:
            raise invalid(f"Failed to process element: {place(i)} Error: {error}") from None
    return np.stack(arrays)


def _from_columns(value, infos):
    if not isinstance(value, dict) or is_base64(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        name = min(infos)
        return {name: _column(value, infos[name])}
    for name in infos:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _column(value[name], info) for name, info in infos.items()}


def _column(value, info):
    dtype = _known(info)
    array = _fast(value, dtype)
    return _array(value, dtype) if array is None else array


def _known(info):
    dtype = tf.as_dtype(info.dtype)
    if dtype not in INTEGERS and dtype not in FLOATS and dtype not in (tf.bool, tf.string):
        raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: to type: {dtype.name}")
    return dtype


def _fast(value, dtype):
    """The array of a well-formed list, by NumPy; None for whatever needs a closer look."""
    flat = _flat(value)
    if flat is None:
        return None
    shape, items = flat
    kinds = set(map(type, items))  # True is a number to NumPy, but not to TF Serving
    if dtype in INTEGERS and kinds == {int}:
        low, high = INTEGERS[dtype]
        if low <= min(items) and max(items) <= high:
            return np.array(items, dtype.as_numpy_dtype).reshape(shape)
    elif dtype in FLOATS and kinds <= {int, float}:
        array = np.array(items, np.float64)
        # Not every integer from 2^24 on is a float; larger numbers of others become infinite.
        limit = 2.0**24 - 1 if int in kinds else np.finfo(dtype.as_numpy_dtype).max
        if not np.any((np.abs(array) > limit) & np.isfinite(array)):
            return array.astype(dtype.as_numpy_dtype).reshape(shape)
    elif dtype == tf.bool and kinds == {bool}:
        return np.array(items, bool).reshape(shape)
    return None


def _flat(value):
    """The shape of regular lists in lists and what they hold; None for other things."""
    shape, items = [], [value]
    while type(items[0]) is list:
        if len(shape) == DEEPEST or set(map(type, items)) != {list}:
            return None
        sizes = set(map(len, items))
        if len(sizes) > 1 or 0 in sizes:
            return None
        shape.append(sizes.pop())
        items = items[0] if len(items) == 1 else list(itertools.chain.from_iterable(items))
    return (shape, items) if shape else None


def _array(value, dtype):
    """A value as an array, element by element, with TF Serving's words for what is wrong."""
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        if len(shape) > DEEPEST:
            raise invalid(f"Encountered list at unexpected level: {DEEPEST}")
        inner = inner[0] if inner else None
    elements = []
    _collect(value, 0, shape, dtype, elements)
    flat = np.empty(len(elements), dtype.as_numpy_dtype)
    for i, element in enumerate(elements):
        flat[i] = element
    return flat.reshape(shape)


def _collect(value, level, shape, dtype, elements):
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        elements.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, level + 1, shape, dtype, elements)


def _element(value, dtype):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if dtype == tf.string:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict):
            return decoded(value)
    elif dtype == tf.bool:
        if isinstance(value, bool):
            return value
    elif dtype in INTEGERS:
        low, high = INTEGERS[dtype]
        if number and isinstance(value, int) and low <= value <= high:
            return value
    elif number:
        return _float(value, dtype)
    raise invalid(
        f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: "
        f"{_SHORT.get(dtype.name, dtype.name)}"
    )


def _float(value, dtype):
    largest = float(np.finfo(dtype.as_numpy_dtype).max)
    if isinstance(value, int):
        lossless = abs(value) < 2 ** (24 if dtype == tf.float32 else 53)
    else:
        lossless = not math.isfinite(value) or abs(value) <= largest
    if not lossless:
        raise invalid(
            f"Cannot convert JSON value: {shown(value)} to {_SHORT[dtype.name]} "
            "without loss of precision."
        )
    return value


def is_base64(value):
    """Whether a JSON value stands for bytes: an object whose only key is `b64`."""
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def decoded(value):
    """The bytes that such an object stands for.

    Raises:
        ServingError: it is another one, or holds no base64.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = value["b64"].translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def type_name(value):
    """TF Serving's word for the type of a JSON value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        return "Number"
    return {str: "String", list: "Array", dict: "Object"}[type(value)]


def _dims(array):
    return "[" + ",".join(map(str, array.shape)) + "]"
