"""JSON to arrays and back: the fast and the careful parser agree, and refuse invalid values."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from tfgen.export.serving import json_tensors
from tfgen.export.serving.statuses import ServingError


def info(dtype):
    return TensorInfo(dtype=tf.as_dtype(dtype).as_datatype_enum)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0), (1, 2, 3, 1)])
def test_arrays_survive(dtype, shape):
    array = np.random.default_rng(1).normal(size=shape, scale=50)
    array = np.abs(array).astype(dtype)
    document = {"inputs": json.loads(json.dumps(array.tolist()))}
    layout, found = json_tensors.to_arrays(document, {"x": info(dtype)})
    assert layout == json_tensors.COLUMNAR
    assert found["x"].dtype == dtype
    np.testing.assert_array_equal(found["x"], array)
    text = json_tensors.to_json({"x": array}, layout)
    np.testing.assert_array_equal(np.array(json.loads(text)["outputs"], dtype), array)


@pytest.mark.parametrize(
    "values", [[0.1, 1e-45, 3.4028235e38, -2.5, 123456789.0], [float("nan"), float("inf"), 0.0]]
)
def test_float32_round_trips_through_text(values):
    array = np.array(values, np.float32)
    text = json_tensors.to_json({"x": array}, json_tensors.COLUMNAR)
    found = np.array(json.loads(text)["outputs"], np.float64).astype(np.float32)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("uint8", [1, 300], "Input x has a number that uint8 cannot represent"),
        ("uint8", [1, -1], "Input x has a number that uint8 cannot represent"),
        ("uint8", [1.0], "Input x must be uint8, got 1.0"),
        ("uint8", [1, True], "Input x must be uint8, got true"),
        ("float32", [0.5, False], "Input x must be float32, got false"),
        ("float32", [1e39], "Input x has a number that float32 cannot represent"),
        ("float32", [0.5, 2**24], "Input x has a number that float32 cannot represent"),
        ("float32", [None], "Input x must be float32, got null"),
        ("float32", [[1.0], 2.0], "Input x: lists at level 1 differ in length"),
        ("float32", [[1.0], [2.0, 3.0]], "Input x: lists at level 1 differ in length"),
        ("float32", [1.0, [2.0]], "Input x must be float32, got [2.0]"),
        ("string", [{"b64": "a"}], "Input x: unable to base64 decode"),
        ("string", [{"b64": 1}], "Input x: expected a string or only the key b64"),
        ("float32", [{"b64": "aa"}], 'Input x must be float32, got {"b64": "aa"}'),
    ],
)
def test_values_that_do_not_fit_the_input_are_refused(dtype, value, message):
    with pytest.raises(ServingError, match=r"^INVALID_ARGUMENT") as caught:
        json_tensors.to_arrays({"inputs": value}, {"x": info(dtype)})
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{{"x": [0, {10**400}]}}', "Number too big to be stored in double."),
        (f'{{"x": {"9" * 5000}}}', "Number too big to be stored in double."),
        ('{"x": [NaN, -1e309]}', "Number too big to be stored in double."),
        ('{"x": ["\\ud83d"]}', "surrogates not allowed"),
        ('{"x": [{"\\ude00\\ud83d": NaN}]}', "surrogates not allowed"),
    ],
)
def test_invalid_json_is_refused(text, message):
    with pytest.raises(ServingError, match=f"INVALID_ARGUMENT: JSON Parse error: .*{message}"):
        json_tensors.parse(text.encode())


def test_numbers_and_characters_at_the_limit():
    largest = 2**1024 - 2**971  # the largest double
    text = f'{{"a": [{largest}, {2**64}], "b": [NaN, -Infinity], "c": "\\ud83d\\ude00 \\\\ud83d"}}'
    found = json_tensors.parse(text.encode())
    infos = {"a": info("float64"), "b": info("float32"), "c": info("string")}
    _, arrays = json_tensors.to_arrays({"inputs": found}, infos)
    np.testing.assert_array_equal(arrays["a"], [np.finfo(np.float64).max, 2.0**64])
    np.testing.assert_array_equal(arrays["b"], np.array([np.nan, -np.inf], np.float32))
    assert arrays["c"].item() == "\N{GRINNING FACE} \\ud83d".encode()


def test_types_that_json_cannot_represent():
    with pytest.raises(ServingError, match=r"^UNIMPLEMENTED"):
        json_tensors.to_arrays({"inputs": [1.0]}, {"x": info("float16")})
    with pytest.raises(ServingError, match="Failed to write JSON value"):
        json_tensors.to_json({"x": np.zeros(2, np.float16)}, json_tensors.ROW)


def test_bytes_are_written_as_base64_and_texts_as_strings():
    outputs = {"x_bytes": np.array([b"\xff"], object), "y": np.array([b"hi"], object)}
    rows = json.loads(json_tensors.to_json(outputs, json_tensors.ROW))
    assert rows == {"predictions": [{"x_bytes": {"b64": "/w=="}, "y": "hi"}]}


def test_rows_need_a_batch_of_one_size():
    with pytest.raises(ServingError, match="Tensor name: x has no shape information "):
        json_tensors.to_json({"x": np.float32(1.0)}, json_tensors.ROW)
    outputs = {"x": np.zeros(2), "y": np.zeros(3)}
    with pytest.raises(ServingError, match="y has inconsistent batch size: 3 expecting: 2"):
        json_tensors.to_json(outputs, json_tensors.ROW)
