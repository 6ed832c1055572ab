"""JSON, TensorProtos and messages of any structure are read or refused, in bounded memory."""

import json
import math
import time

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from tfgen.export.serving import json_tensors, proto_tensors, wire
from tfgen.export.serving.statuses import ServingError

MIB = 2**20
few = settings(deadline=None, derandomize=True, database=None, max_examples=150)

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 255),
    st.integers(100, 5000).map(lambda digits: 10**digits),
    st.floats(),
    st.text(max_size=5),
    st.just({"b64": "AA=="}),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["images", "b64", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(
    st.sampled_from(["instances", "inputs", "signature_name", "examples", "context"]), values
)


def written(value):
    """JSON, with integers of any number of digits."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if type(value) is int and abs(value) > 2**64:
        return ("-" if value < 0 else "") + "1" + "0" * int(math.log2(abs(value)) * 0.30103)
    return json.dumps(value)


@few
@given(bodies, st.sampled_from([tf.uint8, tf.float32, tf.int64, tf.bool, tf.string, tf.half]))
def test_json_of_any_structure_is_read_or_refused(body, dtype):
    signature = SignatureDef()
    signature.inputs["images"].dtype = dtype.as_datatype_enum
    for call in (
        lambda document: json_tensors.to_arrays(document, signature.inputs),
        json_tensors.to_examples,
        json_tensors.signature_name,
    ):
        error = refusal(lambda call=call: call(json_tensors.parse(written(body).encode())))
        if error is not None:
            assert error.code in ("INVALID_ARGUMENT", "UNIMPLEMENTED")
            assert "\n" not in error.message
            assert len(error.message) < 1100


@few
@given(st.binary(max_size=60) | st.text('[]{}",:0123456789eE.-truefalsnNaIity\\u ').map(str.encode))
def test_bodies_that_are_hardly_json(body):
    error = refusal(json_tensors.parse, body)
    assert error is None or error.code == "INVALID_ARGUMENT"


def refusal(call, *arguments):
    """The error of a call, None if there is none; no other error may be raised."""
    try:
        call(*arguments)
    except ServingError as error:
        return error
    return None


FIELDS = ["half_val", "float_val", "double_val", "int_val", "string_val", "int64_val", "bool_val"]
FIELDS += ["scomplex_val", "dcomplex_val", "uint32_val", "uint64_val"]
sizes_ = st.one_of(st.integers(0, 3), st.integers(-2, 2**63 - 1))


@few
@given(
    st.sampled_from([*range(-1, 35), 101, 103, 107, 119, 2**31 - 1]),
    st.lists(sizes_, max_size=4) | st.just([1] * 40),
    st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 9), max_size=2),
    st.binary(max_size=40),
)
def test_tensors_of_every_type_shape_and_content_are_read_or_refused(dtype, shape, counts, content):
    tensor = TensorProto(tensor_content=content)
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    for field, count in counts.items():
        getattr(tensor, field).extend([b"x" if field == "string_val" else 1] * count)
    found = {}

    def read():
        found["size"] = proto_tensors.num_bytes({"x": tensor}, MIB)
        found["shape"] = proto_tensors.shapes({"x": tensor})["x"]
        found["array"] = proto_tensors.to_arrays({"x": tensor})["x"]

    error = refusal(read)
    if error is not None:
        assert error.code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
    else:
        assert found["array"].shape == found["shape"] == tuple(shape)
        assert found["array"].nbytes <= found["size"] <= MIB


def test_messages_whose_parts_take_more_memory_than_their_bytes():
    def field(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    def varint(number):
        low = number & 127
        return bytes([low | 128]) + varint(number >> 7) if number > 127 else bytes([low])

    kind = PredictRequest.DESCRIPTOR
    many = 30 * MIB
    dims = field(2, field(2, field(2, field(2, b"") * many)))
    for data in (
        dims,  # 1.2 GB in memory
        field(3, b"") * many,  # names of outputs
        field(2, field(2, field(10, b"\1" * many))),  # int64_val
    ):
        start = time.perf_counter()
        error = refusal(wire.memory, data, kind)
        assert error.code == "RESOURCE_EXHAUSTED"
        assert time.perf_counter() - start < 2
    good = PredictRequest()
    good.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(MIB, "float32")))
    good.inputs["y"].int_val.extend([1] * MIB)
    data = good.SerializeToString()
    assert 5 * MIB < wire.memory(data, kind) < 24 * MIB
    for i in range(0, 200):
        wire.memory(data[:i], kind)


@few
@given(st.binary(max_size=80))
def test_the_size_of_any_bytes_as_a_message(data):
    assert wire.memory(data, PredictRequest.DESCRIPTOR) >= len(data)


def test_a_shown_value_is_not_written_whole():
    start = time.perf_counter()
    text = json_tensors._shown([[0] * 1000] * 10_000)
    assert time.perf_counter() - start < 0.5
    assert text == ("[[" + "0, " * 100)[: json_tensors.MAX_SHOWN]
