"""Clients of the server's ports that are slow, many, gone, or the pages of other sites."""

import contextlib
import gzip
import http.client
import os
import resource
import socket
import struct
import threading
import time

import grpc
import pytest
import requests
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest

from tfgen.errors import InputError
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.server import Server

GET = b"GET /v1/models/none HTTP/1.1\r\nHost: localhost\r\n\r\n"  # answered with 404
POST = b"POST /v1/models/none:predict HTTP/1.1\r\nHost: localhost\r\n"
METRICS = "/metrics"


@pytest.fixture
def serve(tmp_path):
    """Starts servers without a version to serve, which answer every request of the API."""
    (tmp_path / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }')
    with contextlib.ExitStack() as stack:

        def start(**flags):
            flags = {"port": None, "rest_api_port": 0, "file_system_poll_wait_seconds": 0, **flags}
            flags["monitoring_config_file"] = tmp_path / "monitoring"
            return stack.enter_context(Server({"m": tmp_path}, **flags))

        yield start


def connect(server):
    return socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=10)


def until_closed(connection, drip=b""):
    """What a server sends until it closes, and the seconds it takes, while bytes drip."""
    start, found = time.monotonic(), b""
    connection.settimeout(0.03 if drip else 10)
    with contextlib.suppress(ConnectionError):
        while True:
            try:
                more = connection.recv(2**16)
                if not more:
                    break
                found += more
            except TimeoutError:
                if time.monotonic() - start > 8:
                    pytest.fail("the connection is still open")
                connection.sendall(drip)
    return found, time.monotonic() - start


def answered(server, timeout=10):
    url = f"http://127.0.0.1:{server.rest_api_port}/v1/models/none"
    return requests.get(url, timeout=timeout).status_code == 404


@pytest.mark.parametrize(
    ("sent", "drip", "status"),
    [
        (b"", b"", b""),
        (b"GET /v1/mo", b"", b"408"),
        (b"GET / HTTP/1.1\r\n", b"X: 1\r\n", b"408"),
        (POST + b"Content-Length: 1000\r\n\r\n", b"[", b"408"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n", b"408"),
        (GET, b"", b"404"),
        (GET + GET[:20], b"", b"404"),
    ],
)
def test_slow_clients_are_disconnected(serve, sent, drip, status):
    """After the sum of their waits, however steadily they send."""
    limit = 400
    server = serve(
        rest_api_header_timeout_in_ms=limit,
        rest_api_idle_timeout_in_ms=limit,
        rest_api_timeout_in_ms=limit,
    )
    with connect(server) as connection:
        connection.sendall(sent)
        found, seconds = until_closed(connection, drip)
    assert found[9:12] == status
    assert 0.3 < seconds < 3
    assert answered(server)


def test_clients_that_do_not_read_their_answers_are_disconnected(serve):
    server = serve(rest_api_timeout_in_ms=300)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.rest_api_port))
        requested = 600 * b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        sender = threading.Thread(target=connection.sendall, args=(requested,))
        sender.daemon = True
        sender.start()
        time.sleep(1.0)
        found, _ = until_closed(connection)
    assert found.count(b"HTTP/1.1 200") < 600


def test_slow_connections_do_not_shut_others_out(serve):
    server = serve(max_connections=8, rest_api_header_timeout_in_ms=500)
    with contextlib.ExitStack() as stack:
        for i in range(30):
            connection = stack.enter_context(connect(server))
            connection.sendall(GET[: i % 20])
        start = time.monotonic()
        assert answered(server)
        assert time.monotonic() - start < 5


def test_clients_that_keep_their_connections_share_them(serve):
    server = serve(max_connections=4)
    url = f"http://127.0.0.1:{server.rest_api_port}/v1/models/none"
    failures, rounds = [], []

    def ask():
        try:
            with requests.Session() as session:
                for _ in range(20):
                    assert session.get(url, timeout=10).status_code == 404
                rounds.append(1)
                time.sleep(0.1)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert len(rounds) == 12


def test_idle_connections_make_room(serve):
    server = serve(max_connections=3)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(connect(server))
            connection.sendall(GET)
            assert connection.recv(100).startswith(b"HTTP/1.1 404")
        assert answered(server, timeout=5)


def test_it_waits_for_file_descriptors_and_recovers(serve):
    server = serve()
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(socket.socket())
        waiting.settimeout(0.6)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        last = max(map(int, os.listdir("/proc/self/fd")))
        while (taken := stack.enter_context(open(os.devnull)).fileno()) < last:
            pass  # The limit is on the number of a descriptor: no lower one may be free.
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
        try:
            waiting.connect(("127.0.0.1", server.rest_api_port))
            waiting.sendall(GET)
            start = time.process_time()
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            assert time.process_time() - start < 0.3
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        waiting.settimeout(10)
        assert waiting.recv(100).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 100\r\n\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1",
        b"Content-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n"
        + gzip.compress(b"[" * 999, mtime=0)[:12],
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_hangs_up_is_one_line_and_cancelled(serve, caplog, sent, reset):
    caplog.set_level("INFO", "tfgen")
    server = serve()
    with connect(server) as connection:
        connection.sendall(POST + sent)
        time.sleep(0.05)
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    end = time.monotonic() + 5
    counts = []
    while not counts and time.monotonic() < end:
        time.sleep(0.02)
        text = requests.get(f"http://127.0.0.1:{server.rest_api_port}{METRICS}", timeout=10).text
        counts = [line for line in text.splitlines() if "request_count{" in line]
    assert [line.rsplit("status=", 1)[1] for line in counts] == ['"CANCELLED"} 1.0']
    lines = [record for record in caplog.records if "predict" in record.getMessage()]
    assert [line.getMessage() for line in lines] == [
        "POST /v1/models/none:predict: the client hung up"
    ]
    assert not any(record.exc_info for record in caplog.records)


def status_of(server, method="GET", path="/v1/models/none", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=10)
    with contextlib.closing(connection):
        body = b"{}" if method == "POST" else None
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:8501", True),
        ("localhost.:8501", True),
        ("demo.localhost", True),
        ("127.0.0.1:8501", True),
        ("192.168.1.7", True),
        ("[::1]:8501", True),
        (socket.gethostname(), True),
        ("gpu-box:8501", True),
        ("a.b.example.com", True),
        ("example.com", False),
        ("evil.example:8501", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evillocalhost", False),
        ("user@localhost", False),
        ("[localhost]", False),
        ("", False),
    ],
)
def test_pages_cannot_reach_it_under_another_name(serve, host, allowed):
    server = serve(allowed_hosts=["gpu-box", ".example.com"])
    for path, status in (
        ("/v1/models/none", 404),
        ("/", 200),
        ("/models.json", 200),
        (METRICS, 200),
    ):
        found, body = status_of(server, path=path, Host=host)
        assert found == (status if allowed else 403), (path, body)
        assert allowed or b"--allowed_hosts=NAME" in body


def test_any_name_can_be_allowed(serve):
    assert status_of(serve(allowed_hosts=["*"]), Host="evil.example")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 404),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 404),  # curl -d
        ({"Content_Type": "text/plain"}, 404),
        ({"Origin": "http://localhost:8501", "Content_Type": "application/json"}, 404),
        ({"Origin": "https://localhost:8501", "Content_Type": "Application/JSON; a=b"}, 404),
        ({"Sec_Fetch_Site": "same-origin", "Content_Type": "application/json"}, 404),
        ({"Origin": "http://localhost:8501", "Content_Type": "image/png"}, 400),  # no image
        ({"Origin": "http://localhost:8501", "Content_Type": "text/plain"}, 415),
        ({"Sec_Fetch_Site": "same-origin"}, 415),
        ({"Sec_Fetch_Site": "none", "Content_Type": "multipart/form-data; boundary=x"}, 415),
        ({"Origin": "http://localhost:3000", "Content_Type": "application/json"}, 403),
        ({"Origin": "http://evil.example", "Content_Type": "application/json"}, 403),
        ({"Origin": "null", "Content_Type": "application/json"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Content_Type": "application/json"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Content_Type": "application/json"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 403),
    ],
)
def test_pages_of_other_origins_cannot_send_requests(serve, headers, status):
    server = serve()
    path = "/v1/models/none:predict"
    found, body = status_of(server, "POST", path, Host="localhost:8501", **headers)
    assert found == status, body


def test_links_and_cors_support_allow_other_origins(serve):
    site = {"Sec_Fetch_Site": "cross-site"}
    server = serve()
    assert status_of(server, path="/", Sec_Fetch_Mode="navigate", **site)[0] == 200
    assert status_of(server, path="/", Sec_Fetch_Mode="no-cors", **site)[0] == 403
    server = serve(rest_api_enable_cors_support=True)
    for headers in (site, {"Origin": "https://a.example"}):
        assert status_of(server, "POST", "/v1/models/none:predict", **headers)[0] == 404
    assert status_of(server, "OPTIONS", Origin="https://a.example")[0] == 200


def test_names_that_are_not_hosts_are_refused():
    for name in ("http://x", "a:80", "", "*.x", "a b"):
        with pytest.raises(InputError, match="is not the name of a host"):
            Flags(allowed_hosts=[name])


def test_grpc_connections_that_are_none_do_not_shut_others_out(serve):
    server = serve(
        port=0,
        rest_api_port=None,
        max_connections=4,
        grpc_channel_arguments=[("grpc.server_handshake_timeout_ms", 500)],
    )
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(8):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            connections.append(stack.enter_context(connection))
        for connection in connections:
            assert until_closed(connection)[1] < 5
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetModelStatus(GetModelStatusRequest(), timeout=10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
