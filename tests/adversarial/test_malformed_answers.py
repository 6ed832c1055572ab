"""Servers that send the client endless, slow or malformed answers."""

import contextlib
import socket
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfgen.errors import InputError
from tfgen.export import Client
from tfgen.export.serving.statuses import ServingError

METADATA = b'{"metadata": {"signature_def": {"signature_def": %s}}}'
NO_SIGNATURES = METADATA % b"{}"
OK = b"HTTP/1.1 200 OK\r\n"


def whole(body, head=OK):
    return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


@pytest.fixture
def server():
    """Starts servers whose answers are chunks of bytes, from a function of the request's method."""
    with contextlib.ExitStack() as stack:

        def start(chunks, pause=0.0):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def answer(connection):
                with contextlib.suppress(OSError), connection:
                    while request := connection.recv(2**16):
                        for chunk in chunks(request.split(b" ")[0]):
                            connection.sendall(chunk)
                            time.sleep(pause)

            def accept():
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listening.accept()
                        threading.Thread(target=answer, args=(connection,), daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

        yield start


def error_of(address, **options):
    with Client(address, "m", **options) as client, pytest.raises(ServingError) as caught:
        client.predict("s", {})
    return caught.value


@pytest.mark.parametrize(
    "first",
    [
        [b"H"],
        [OK, b"X: 1\r\n"],
        [OK + b"Content-Length: 100000\r\n\r\n", b" "],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n"],
    ],
)
def test_a_deadline_holds_for_all_of_an_answer_that_drips(server, first):
    def chunks(method):
        yield first[0]
        while True:
            yield first[-1]

    address = server(chunks, pause=0.05)
    start = time.monotonic()
    assert error_of(address, deadline=0.5).code == "DEADLINE_EXCEEDED"
    assert 0.4 < time.monotonic() - start < 1.5


def test_a_server_that_accepts_nothing_is_left_at_the_deadline():
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(2):  # fill its queue
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        start = time.monotonic()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert error_of(address, deadline=0.5).code == "DEADLINE_EXCEEDED"
        assert time.monotonic() - start < 1.5


@pytest.mark.parametrize("size", [b"Content-Length: 99999999999", b"Transfer-Encoding: chunked"])
def test_an_endless_answer_is_not_read(server, size):
    chunk = b" " * 2**16

    def chunks(method):
        yield OK + size + b"\r\n\r\n"
        while True:
            yield b"10000\r\n" + chunk + b"\r\n" if b"chunked" in size else chunk

    error = error_of(server(chunks), max_answer_bytes=2**20, deadline=10)
    assert str(error) == "RESOURCE_EXHAUSTED: the answer exceeds max_answer_bytes=1048576"


@pytest.mark.parametrize("limit", [0, -1, 1.5, None])
def test_limits_are_numbers_of_bytes(limit):
    with pytest.raises(InputError, match="max_answer_bytes must be a positive integer"):
        Client("http://127.0.0.1:1", "m", max_answer_bytes=limit)


DEEP = b"[" * 100_000
SIGNATURE = b'{"s": {"outputs": {"x": {"dtype": "DT_FLOAT"}}}}'
TWO = b'{"s": {"outputs": {"x": {"dtype": "DT_FLOAT"}, "y": {"dtype": "DT_UINT8"}}}}'


@pytest.mark.parametrize(
    ("signatures", "answer"),
    [
        (b"{}", DEEP),
        (SIGNATURE, b'{"outputs": %s%s}' % (DEEP[:300], DEEP[:300].replace(b"[", b"]"))),
        (b"{}", b"[]"),
        (b"{}", b"null"),
        (b"{}", b'{"predictions": []}'),
        (b"{}", b'{"outputs": 3}'),
        (b"{}", b'{"outputs": {"x": 1}} and more'),
        (SIGNATURE, b'{"outputs": [[1], [2, 3]]}'),
        (SIGNATURE, b'{"outputs": ["a"]}'),
        (SIGNATURE, b'{"outputs": [{"x": 1}]}'),
        (SIGNATURE, b'{"outputs": 1%s}' % (b"0" * 5000)),
        (TWO, b'{"outputs": [1]}'),
        (TWO, b'{"outputs": {"x": 1}}'),
        (TWO, b'{"outputs": {"x": 1, "y": 256}}'),
        (b"[]", b"{}"),
        (b'{"s": 1}', b"{}"),
        (b'{"s": {"outputs": [1]}}', b"{}"),
        (b'{"s": {"outputs": {"x": {}}}}', b"{}"),
        (DEEP, b"{}"),
    ],
)
def test_answers_in_another_format_are_one_error(server, signatures, answer):
    bodies = {b"GET": METADATA % signatures, b"POST": answer}
    address = server(lambda method: [whole(bodies[method])])
    with Client(address, "m") as client, pytest.raises(ServingError) as caught:
        client.predict("s", {}, ["x", "y"] if signatures == TWO else ())
    assert caught.value.code in ("UNKNOWN", "INVALID_ARGUMENT")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "inputs",
    [b"[]", b'{"images": 1}', b'{"images": {"tensor_shape": {"dim": [{"size": "x"}]}}}'],
)
def test_shapes_in_another_format_are_one_error(server, inputs):
    address = server(lambda method: [whole(METADATA % (b'{"log_prob": {"inputs": %s}}' % inputs))])
    error = "UNKNOWN: the answer is not TF Serving's: "
    with Client(address, "m") as client, pytest.raises(ServingError, match=error):
        client.log_prob(np.zeros((1, 8, 8, 1), np.uint8))


def test_compressed_answers_and_errors_in_another_format(server):
    head = OK + b"Content-Encoding: gzip\r\n"
    error = error_of(server(lambda method: [whole(b"x", head)]))
    assert "it is compressed, which was not asked for" in str(error)
    head = b"HTTP/1.1 400 Bad\r\n"
    for body in (b'{"error": {"a": 1}}', b'{"error": null}', DEEP, b"[1]", b""):
        error = error_of(server(lambda method, body=body: [whole(body, head)]))
        assert error.code == "INVALID_ARGUMENT"
        assert len(error.message) < 1100


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request, context):  # noqa: N802
        response = predict_pb2.PredictResponse()
        tensor = response.outputs["x"]
        tensor.dtype = {"splat": 1, "dtype": 0, "values": 1}[request.model_spec.signature_name]
        size = {"splat": 2**40, "dtype": 1, "values": 5}[request.model_spec.signature_name]
        tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.extend([1.0] if size != 5 else [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        return response


def test_malformed_tensors_over_grpc():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}", "m") as client:
        for signature, code in (
            ("splat", "RESOURCE_EXHAUSTED"),
            ("dtype", "UNKNOWN"),
            ("values", "UNKNOWN"),
        ):
            with pytest.raises(ServingError) as caught:
                client.predict(signature, {})
            assert caught.value.code == code
            assert len(caught.value.message) < 400
    server.stop(None)
