"""The client over REST and gRPC returns what the model returns; deadlines and retries."""

import re
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import folder_scores
from tfgen.export import Client
from tfgen.export.serving.statuses import ServingError

NAME = "vae-digits"


@pytest.fixture(scope="module", params=["rest", "grpc"])
def client(request, server):
    address = {
        "rest": f"http://127.0.0.1:{server.rest_api_port}",
        "grpc": f"127.0.0.1:{server.port}",
    }[request.param]
    with Client(address, NAME) as client:
        yield client


@pytest.fixture(scope="module")
def model():
    return tfgen.zoo.load(NAME)


def test_the_four_verbs_give_what_the_model_gives(client, model, images):
    log_prob = client.log_prob(images)
    assert log_prob.dtype == np.float32
    np.testing.assert_allclose(log_prob, model.log_prob(images), rtol=1e-4)
    latents = client.encode(images)
    assert latents.dtype == np.float32
    np.testing.assert_allclose(latents, model.encode(images), rtol=1e-4, atol=1e-5)
    decoded = client.decode(latents)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, model.decode(latents))
    sampled = client.sample(1, temperature=0.6, seed=7)
    np.testing.assert_array_equal(sampled, model.sample(1, temperature=0.6, seed=7))
    for seed in (-(2**31), np.int64(2**31 - 1)):
        sampled = client.sample(1, temperature=0.6, seed=seed)
        np.testing.assert_array_equal(sampled, model.sample(1, temperature=0.6, seed=seed))
    assert client.sample(5).shape == (5, 8, 8, 1)


def test_files_and_chosen_outputs(client, images):
    files = [tf.io.encode_png(image).numpy() for image in images]
    found = client.predict("encode_encoded", {"image_bytes": files}, ["latents"])
    np.testing.assert_allclose(found["latents"], client.encode(images), rtol=1e-4, atol=1e-5)


def test_images_can_be_files_and_single_images(client, model, images, tmp_path):
    contents = [tf.io.encode_png(image).numpy() for image in images]
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    first = client.log_prob(images[:1])
    for single in (images[0], str(paths[0]), paths[0], contents[0]):
        np.testing.assert_array_equal(client.log_prob(single), first)
    latents = client.encode(images)
    np.testing.assert_allclose(latents, model.encode(images), rtol=1e-4, atol=1e-5)
    for several in (paths, contents, list(images), [str(paths[0]), images[1], contents[2]]):
        np.testing.assert_array_equal(client.encode(several), latents)
    expected = model.decode(model.encode(images))
    np.testing.assert_array_equal(client.reconstruct(paths), expected)
    between = client.interpolate(paths[0], images[1], [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(between[[0, 2]], expected[:2])
    np.testing.assert_array_equal(between[1], model.decode((latents[:1] + latents[1:2]) / 2)[0])


def test_a_file_of_another_size_is_resized_as_score_resizes_it(client, model, tmp_path):
    array = np.random.default_rng(1).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    (tmp_path / "x.png").write_bytes(tf.io.encode_png(array).numpy())
    scored = folder_scores.score_folder(model, tmp_path).rows[0][1]
    with pytest.warns(UserWarning, match=r"1 of 1 images, such as .*x.png, were resized to 8x8"):
        found = client.log_prob(tmp_path / "x.png")
    np.testing.assert_allclose(found, [scored], rtol=1e-4)


def test_images_that_cannot_be_used_are_named(client, images, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    wanted = r"an image must be a file or uint8 \[8, 8, 1\], a batch uint8 \[N, 8, 8, 1\]"
    for given, message in [
        (tmp_path / "no.png", "no.png: No such file or directory; "),
        (tmp_path / "bad.png", "bad.png: not an image of a known format; "),
        (tmp_path, "not a regular file; "),
        ([images[0], b"x"], "file 1 of the list: not an image of a known format; "),
        ([images[0], images[0][:7]], r"image 1 of the list: .*, got uint8 \[7, 8, 1\]"),
        (images[..., 0], r"images: .*, got uint8 \[3, 8, 8\]"),
        (images / 255.0, "images: .*, got float64"),
        ([], "images: "),
        ([[1], [1, 2]], "images differ in shape: "),
    ]:
        for verb in (client.log_prob, client.reconstruct):
            with pytest.raises(InputError, match=message) as caught:
                verb(given)
            assert re.search(wanted, str(caught.value))


def test_errors_of_the_server_are_raised_with_their_code(client):
    with pytest.raises(ServingError, match="not compatible with expected shape") as caught:
        client.decode(np.zeros((1, 3)))
    assert caught.value.code == "INVALID_ARGUMENT"
    for value in (np.nan, -np.inf):
        with pytest.raises(ServingError, match=r"INVALID_ARGUMENT: .*latents must be finite"):
            client.decode(np.full((1, 8), value))
    with pytest.raises(InputError, match="uint8"):
        client.log_prob(np.zeros((1, 8, 8, 1)))
    for labels in ([0.5], [2**40], [-(2**31) - 1]):
        with pytest.raises(InputError, match="labels must be 32-bit integers"):
            client.log_prob(np.zeros((1, 8, 8, 1), "uint8"), labels)
        with pytest.raises(InputError, match="labels must be 32-bit integers"):
            client.sample(1, labels=labels)
    for seed in (2**31, -(2**40), 1.5, True, "1"):
        with pytest.raises(InputError, match="integer from -2147483648 to 2147483647"):
            client.sample(1, seed=seed)


def test_missing_models(server):
    for address in (f"http://127.0.0.1:{server.rest_api_port}", f"127.0.0.1:{server.port}"):
        with Client(address, "nope") as client:
            assert not client.ready()
            with pytest.raises(ServingError) as caught:
                client.sample(1)
            assert caught.value.code == "NOT_FOUND"
        with Client(address, NAME, version=1) as client:
            assert client.ready()


def test_answers_above_grpcs_default_of_4_mib(server):
    images = np.zeros((150_000, 8, 8, 1), np.uint8)
    with Client(f"127.0.0.1:{server.port}", NAME) as client:
        assert client.encode(images).nbytes > 4 * 2**20
    with (
        Client(f"127.0.0.1:{server.port}", NAME, max_message_bytes=4 * 2**20) as client,
        pytest.raises(ServingError) as caught,
    ):
        client.encode(images)
    assert caught.value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:1"])
def test_a_missing_server_is_tried_until_the_deadline(address):
    with Client(address, NAME, deadline=0.5, max_attempts=100) as client:
        assert not client.ready()
        start = time.monotonic()
        with pytest.raises(ServingError) as caught:
            client.sample(1)
        assert time.monotonic() - start < 5
    assert caught.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class Answers(BaseHTTPRequestHandler):
    def send(self, status, body, more=0):
        """Send bytes, and announce `more` bytes that are never sent."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + more))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("how", ["busy", "the connection broke"])
@pytest.mark.parametrize(("unavailable", "attempts", "answers"), [(2, 5, True), (3, 3, False)])
def test_unavailable_is_retried(unavailable, attempts, answers, how):
    asked = []

    class Handler(Answers):
        def do_GET(self):
            self.send(200, b'{"metadata": {"signature_def": {"signature_def": {}}}}')

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            if len(asked) > unavailable:
                self.send(200, b'{"outputs": {}}')
            elif how == "busy":
                self.send(503, b'{"error": "busy"}')
            else:
                self.send(200, b'{"outputs": {}}', more=5)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with Client(address, "m", max_attempts=attempts) as client:
            if answers:
                assert client.predict("s", {}) == {}
            else:
                with pytest.raises(ServingError, match=f"UNAVAILABLE: {how}"):
                    client.predict("s", {})
        server.shutdown()
    assert len(asked) == min(unavailable + 1, attempts)


def test_answers_that_are_not_in_the_format_of_tf_serving():
    class Handler(Answers):
        def do_GET(self):
            self.send(200, b"<html>Welcome</html>")

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for address in (f"http://127.0.0.1:{server.server_port}", "http://"):
            with (
                Client(address, "m") as client,
                pytest.raises(ServingError, match="UNKNOWN: the answer is not TF Serving's"),
            ):
                client.sample(1)
        server.shutdown()


@pytest.mark.parametrize("address", ["localhost", "ftp://x:1"])
def test_addresses_of_neither_kind(address):
    with pytest.raises(InputError, match="neither"):
        Client(address, "m")
