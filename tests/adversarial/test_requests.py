"""What a request may cost: limits before anything is expanded, and bodies of any structure."""

import asyncio
import json
import resource
import socket
import threading
import time
import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

import tfgen
from tfgen.export.serving import (
    batching,
    examples,
    limits,
    servable,
)
from tfgen.export.serving.batching_parameters import Parameters
from tfgen.export.serving.deadlines import Deadline
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.limits import Limits
from tfgen.export.serving.server import Server
from tfgen.export.serving.statuses import ServingError

NAME, LATENTS, MIB = "vae-digits", 8, 2**20


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("served")
    tfgen.export.saved_model(NAME, path)
    return path


@pytest.fixture(scope="module")
def server(base):
    flags = {"max_rows": 1000, "max_result_bytes": 50_000, "enable_model_warmup": False}
    with Server({NAME: base}, port=0, rest_api_port=0, **flags) as server:
        yield server


@pytest.fixture(scope="module")
def predict(server):
    """Sends a Predict request; returns its code and text."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = PredictionServiceStub(channel)

        def send(message):
            try:
                stub.Predict(message, timeout=20)
            except grpc.RpcError as error:
                return error.code().name, error.details()
            return "OK", ""

        yield send


def splat(signature, shape, value=0.5):
    """A request of a few bytes, whose one value stands for all."""
    message = PredictRequest()
    message.model_spec.name = NAME
    message.model_spec.signature_name = signature
    tensor = message.inputs["image_bytes" if isinstance(value, bytes) else "latents"]
    tensor.dtype = (tf.string if isinstance(value, bytes) else tf.float32).as_datatype_enum
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    (tensor.string_val if isinstance(value, bytes) else tensor.float_val).append(value)
    return message


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_few_bytes_do_not_declare_a_large_request(predict):
    before = peak()
    for message, text in [
        (splat("decode", [1001, LATENTS]), "1001 rows, more than 1000 (--max_rows)"),
        (splat("decode", [8_000_000, LATENTS]), "(--max_bytes)"),
        (splat("decode", [2**62, 2**62]), "(--max_bytes)"),
        (splat("decode", [900, LATENTS]), "57600 bytes, more than 50000 (--max_result_bytes)"),
        (splat("encode_encoded", [500], bytes(200_000)), "(--max_bytes)"),
    ]:
        code, found = predict(message)
        assert (code, text in found) == ("RESOURCE_EXHAUSTED", True), found
    assert predict(splat("decode", [700, LATENTS])) == ("OK", "")
    assert peak() - before < 300


def test_rest_refuses_what_is_too_large_with_413(server):
    def post(body):
        with socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=20) as client:
            head = f"POST /v1/models/{NAME}:predict HTTP/1.0\r\nHost: localhost\r\n"
            kind = "Content-Type: application/json\r\n"
            client.sendall(f"{head}{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])["error"]

    for rows, text in ((1001, "--max_rows"), (900, "--max_result_bytes")):
        body = {"signature_name": "decode", "inputs": [[0.5] * LATENTS] * rows}
        status, error = post(json.dumps(body).encode())
        assert (status, text in error) == (413, True), error
    status, error = post(b'{"inputs": [' + b"[]," * (6 * MIB) + b"[]]}")
    assert (status, "bytes of memory" in error) == (413, True), error


def test_an_example_s_context_is_not_repeated_without_a_bound():
    given = Input()
    given.example_list_with_context.context.features.feature["x"].bytes_list.value.append(
        bytes(MIB)
    )
    given.example_list_with_context.examples.extend([Example()] * 100)
    with pytest.raises(
        ServingError, match=r"RESOURCE_EXHAUSTED: The context takes .* 100 examples"
    ):
        examples.serialized(given, 64 * MIB)
    assert len(examples.serialized(given, 128 * MIB)) == 100


def loaded(base, **options):
    return servable.Servable(NAME, 1, base / "1", warm_up=False, **options)


def test_many_rows_run_in_chunks_with_the_same_result(base, monkeypatch):
    model, sizes = loaded(base), []
    run = model._run_once

    def counted(fetches, feeds, deadline):
        sizes.append(len(next(iter(feeds.values()))))
        return run(fetches, feeds, deadline)

    monkeypatch.setattr(model, "_run_once", counted)
    latents = np.random.default_rng(0).normal(size=(300, LATENTS)).astype("float32")
    images = model.predict("decode", {"latents": latents})["images"]
    assert sizes == [128, 128, 44]
    expected = tf.saved_model.load(str(base / "1")).signatures["decode"](latents=latents)["images"]
    np.testing.assert_allclose(images.astype(int), expected.numpy().astype(int), atol=1)


@pytest.mark.parametrize("batching_rows", [None, 300])
def test_nobody_s_request_is_not_computed_on(base, monkeypatch, batching_rows):
    scheduler = None
    if batching_rows:
        scheduler = batching.Scheduler(Parameters(max_batch_size=300, num_batch_threads=1))
    model, count, state = loaded(base, scheduler=scheduler), 0, types.SimpleNamespace()
    latents = {"latents": np.zeros((300, LATENTS), "float32")}
    run = model._run_once

    def counted(*arguments):
        nonlocal count
        count += 1
        state.change(deadline)
        return run(*arguments)

    monkeypatch.setattr(model, "_run_once", counted)
    for state.change, code in (
        (lambda deadline: setattr(deadline, "gone", True), "CANCELLED"),
        (lambda deadline: setattr(deadline, "at", time.monotonic() - 1), "DEADLINE_EXCEEDED"),
    ):
        deadline, count = Deadline(), 0
        with pytest.raises(ServingError, match=code):
            model.predict("decode", latents, deadline=deadline)
        assert count == 1  # of three chunks
        with pytest.raises(ServingError):  # nor is it begun
            model.predict("decode", latents, deadline=deadline)
        assert count == 1
    if scheduler is not None:
        scheduler.close()


@pytest.mark.parametrize("api", ["grpc", "rest"])
def test_a_client_that_leaves_ends_its_request(server, monkeypatch, api):
    begun, found = threading.Event(), []
    model = server.manager.find(NAME)

    def slow(fetches, feeds, deadline):
        begun.set()
        end = time.monotonic() + 10
        while not deadline.gone and time.monotonic() < end:
            time.sleep(0.01)
        found.append(deadline.gone)
        raise ServingError("CANCELLED", "")

    monkeypatch.setattr(model, "_run_once", slow)
    if api == "grpc":
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = PredictionServiceStub(channel).Predict.future(splat("decode", [1, LATENTS]))
            assert begun.wait(10)
            call.cancel()
    else:
        body = json.dumps({"signature_name": "decode", "inputs": [[0.5] * LATENTS]})
        head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.rest_api_port)) as client:
            client.sendall((head + body).encode())
            assert begun.wait(10)
    end = time.monotonic() + 10
    while not found and time.monotonic() < end:
        time.sleep(0.01)
    assert found == [True]


def test_large_requests_take_turns():
    async def main():
        turns, order = limits.Turns(1), []

        async def ask(i, size, at=None):
            with limits.Turn(turns, Deadline(at)) as turn:
                if turn.needed(size):
                    await turn.take()
                order.append(i)
                await asyncio.sleep(0.01)
                order.append(i)

        large = limits.LARGE + 1
        await asyncio.gather(ask(1, large), ask(2, large), ask(3, 1))
        assert order[-2:] == [2, 2]
        assert order.index(3) < 3
        asks = [ask(i, large) for i in range(limits.MAX_WAITING + 1)]
        found = await asyncio.gather(ask("first", large), *asks, return_exceptions=True)
        refused = [error.code for error in found if isinstance(error, ServingError)]
        assert refused == ["UNAVAILABLE"]
        found = await asyncio.gather(
            ask(1, large), ask(2, large, time.monotonic() + 0.001), return_exceptions=True
        )
        assert found[1].code == "DEADLINE_EXCEEDED"
        await ask(5, large)

    asyncio.run(main())


def test_sizes_of_other_models_signatures():
    signature = SignatureDef()
    for name, shape in {"rows": [-1, 3], "fixed": [5], "any": None, "scalar": []}.items():
        info = signature.inputs[name]
        info.dtype = tf.float32.as_datatype_enum
        info.tensor_shape.unknown_rank = shape is None
        for size in shape or ():
            info.tensor_shape.dim.add().size = size
        signature.outputs[name].CopyFrom(info)
    sizes = limits.Sizes(signature)
    assert sizes.rows({"rows": (7, 3), "fixed": (900,), "any": (8,), "scalar": ()}) == 8
    assert sizes.result(10, []) == (30, 120)
    assert sizes.result(10, ["fixed"]) == (0, 0)


def test_limits_have_the_defaults_of_the_flags():

    assert Flags().limits == Limits()
