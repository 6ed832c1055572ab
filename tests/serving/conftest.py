"""One export and one server for all tests of a session."""

import numpy as np
import pytest
import requests
import tensorflow as tf

import tfgen
from tfgen.export.serving.server import Server

NAME = "vae-digits"


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A base directory with version 1."""
    path = tmp_path_factory.mktemp("served") / NAME
    tfgen.export.saved_model(NAME, path)
    return path


@pytest.fixture(scope="session")
def truth(base):
    """The signatures as `tf.saved_model.load` runs them."""
    loaded = tf.saved_model.load(str(base / "1"))
    return loaded.signatures


@pytest.fixture(scope="session")
def server(base):
    with Server({NAME: str(base)}, port=0, rest_api_port=0) as server:
        yield server


@pytest.fixture(scope="session")
def url(server):
    return f"http://127.0.0.1:{server.rest_api_port}/v1/models/{NAME}"


@pytest.fixture(scope="session")
def post(url):
    """Sends JSON or raw bytes, and returns the status and the JSON of the answer."""
    session = requests.Session()

    def send(body, path=":predict", **options):
        given = {"data": body} if isinstance(body, (bytes, str)) else {"json": body}
        answer = session.post(url + path, timeout=30, **given, **options)
        return answer.status_code, answer.json()

    return send


@pytest.fixture(scope="session")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
