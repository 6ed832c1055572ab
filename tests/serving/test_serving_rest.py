"""REST: answers against `tf.saved_model.load`, errors against TF Serving's texts."""

import base64
import gzip
import json
import re

import numpy as np
import pytest
import requests
import tensorflow as tf

from tfgen.export.serving.server import Server

LATENTS = [[0.5] * 8, [-1.0] * 8]


def test_rows_and_columns_give_what_the_signature_gives(post, truth, images):
    expected = truth["log_prob"](images=tf.constant(images))["log_prob"].numpy()
    rows = {"signature_name": "log_prob", "instances": images.tolist()}
    named = {"instances": [{"images": image} for image in images.tolist()]}
    column = {"signature_name": "log_prob", "inputs": images.tolist()}
    columns = {"signature_name": "log_prob", "inputs": {"images": images.tolist()}}
    for body, key in (
        (rows, "predictions"),
        (named, "predictions"),
        (column, "outputs"),
        (columns, "outputs"),
    ):
        status, answer = post(body)
        assert status == 200
        assert list(answer) == [key]
        np.testing.assert_allclose(answer[key], expected, rtol=1e-5)


def test_several_inputs_in_rows_and_columns(post, truth):
    seeds, temperature = [[1, 0], [2, 0]], [0.5, 0.7]
    expected = truth["sample_seeded"](
        seeds=tf.constant(seeds), temperature=tf.constant(temperature)
    )["images"].numpy()
    rows = [{"seeds": s, "temperature": t} for s, t in zip(seeds, temperature, strict=True)]
    status, answer = post({"signature_name": "sample_seeded", "instances": rows})
    assert status == 200
    np.testing.assert_array_equal(answer["predictions"], expected)
    inputs = {"seeds": seeds, "temperature": temperature}
    status, answer = post({"signature_name": "sample_seeded", "inputs": inputs})
    assert status == 200
    np.testing.assert_array_equal(answer["outputs"], expected)


def test_files_in_base64(post, truth, images):
    files = [tf.io.encode_png(image).numpy() for image in images]
    expected = truth["encode"](images=tf.constant(images))["latents"].numpy()
    content = [{"b64": base64.b64encode(file).decode()} for file in files]
    for instances in (content, [{"image_bytes": c} for c in content]):
        status, answer = post({"signature_name": "encode_encoded", "instances": instances})
        assert status == 200
        np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-4, atol=1e-5)


def test_floats_round_trip(post, truth):
    _, answer = post({"signature_name": "decode", "inputs": LATENTS})
    images = tf.constant(answer["outputs"], tf.uint8)
    _, answer = post({"signature_name": "encode", "inputs": images.numpy().tolist()})
    exact = truth["encode"](images=images)["latents"].numpy()
    sent = np.array(answer["outputs"]).astype(np.float32)
    np.testing.assert_allclose(sent, exact, rtol=1e-5, atol=1e-6)


def test_gzip(post, images):
    body = gzip.compress(json.dumps({"instances": images.tolist()}).encode())
    status, answer = post(body, headers={"Content-Encoding": "gzip"})
    assert status == 200
    assert len(answer["predictions"]) == 3


def test_status_and_metadata(url):
    status = requests.get(url, timeout=30).json()
    assert status == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert requests.get(f"{url}/versions/1", timeout=30).json() == status
    answer = requests.get(f"{url}/metadata", timeout=30).json()
    assert answer["model_spec"]["name"] == "vae-digits"
    assert answer["model_spec"]["version"] == "1"
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["decode"]["inputs"]["latents"]["dtype"] == "DT_FLOAT"
    sizes = [
        dim["size"] for dim in signatures["decode"]["inputs"]["latents"]["tensor_shape"]["dim"]
    ]
    assert sizes == ["-1", "8"]


def test_paths_ignore_case_and_versions_can_be_named(post, url, images):
    body = {"instances": images.tolist()}
    status, by_number = post(body, path="/versions/1:predict")
    assert status == 200
    answer = requests.post(url.replace("/v1/models/", "/V1/MODELS/") + ":predict", json=body)
    assert answer.json() == by_number


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error"),
        (b"hello", "JSON Parse error: .*column 1"),
        ({"x": 1}, "one of the keys 'inputs' and 'instances'"),
        ({"signature_name": "nope", "inputs": 1}, 'Serving signature key "nope" not found'),
        (
            {"signature_name": "decode", "inputs": [[10**400]]},
            "JSON Parse error: Number too big to be stored in double",
        ),
        (
            {"signature_name": "sample_seeded", "inputs": {"seeds": [[1, 2]]}},
            "Missing named input: temperature in 'inputs' object",
        ),
        (
            {"signature_name": "decode", "inputs": [["a"] * 8]},
            'Input latents must be float32, got "a"',
        ),
        (
            {"signature_name": "decode", "instances": [[0.0] * 4, [0.0] * 2]},
            "Input latents: lists at level 1 differ in length",
        ),
        (
            {"signature_name": "sample_seeded", "instances": [{"seeds": [1, 2]}]},
            "Failed to process element: 0 of 'instances' list. JSON object: "
            '{"seeds": .1, 2.} keys must be equal to: seeds,temperature',
        ),
    ],
)
def test_errors_are_400_and_name_what_is_wrong(post, body, message):
    status, answer = post(body)
    assert status == 400
    assert list(answer) == ["error"]
    assert re.match(f".*{message}", answer["error"])


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("foo:predict", 404, "Servable not found for request: Latest(foo)"),
        (
            "vae-digits/versions/9:predict",
            404,
            "Servable not found for request: Specific(vae-digits, 9)",
        ),
        ("vae-digits/labels/x:predict", 400, "Unrecognized servable version label: x"),
        ("foo", 400, "Malformed request: POST /v1/models/foo"),
    ],
)
def test_errors_for_missing_models_and_versions(url, path, status, message):
    body = {"inputs": [[[[0]] * 8] * 8]}
    answer = requests.post(url.replace("vae-digits", path), json=body, timeout=30)
    assert (answer.status_code, answer.json()) == (status, {"error": message})


def test_get_requests_for_missing_models_and_versions(url):
    root = url.rsplit("/", 1)[0]
    for path, status, message in (
        ("", 400, "Missing model name in request."),
        ("/foo", 404, "Could not find any versions of model foo"),
        ("/vae-digits/versions/7", 404, "Could not find version 7 of model vae-digits"),
    ):
        answer = requests.get(root + path, timeout=30)
        assert (answer.status_code, answer.json()) == (status, {"error": message})
    too_large = requests.get(f"{url}/versions/99999999999999999999", timeout=30)
    assert (too_large.status_code, too_large.text) == (400, "")
    assert requests.get(url.split("/v1")[0] + "/elsewhere", timeout=30).status_code == 404


def test_the_graph_refuses_other_shapes_and_numbers(post):
    status, answer = post({"signature_name": "decode", "inputs": [[0.0] * 3]})
    assert status == 400
    assert "not compatible with expected shape" in answer["error"]
    status, answer = post('{"signature_name": "decode", "inputs": [[NaN,0,0,0,0,0,0,0]]}')
    assert status == 400
    assert "latents must be finite" in answer["error"]


def test_a_request_that_takes_too_long_ends_with_504(base):
    options = {"port": None, "rest_api_port": 0, "enable_model_warmup": False}
    with Server({"m": str(base)}, rest_api_timeout_in_ms=1, **options) as server:
        url = f"http://127.0.0.1:{server.rest_api_port}/v1/models/m:predict"
        body = {"instances": np.zeros((2_000, 8, 8, 1), int).tolist()}
        answer = requests.post(url, json=body, timeout=30)
    assert answer.status_code == 504
    assert "eadline" in answer.json()["error"] or "imed out" in answer.json()["error"]


def test_requests_from_other_origins_need_cors_support(base, server):
    with Server(
        {"m": str(base)}, port=None, rest_api_port=0, rest_api_enable_cors_support=True
    ) as other:
        for port, allowed in ((other.rest_api_port, "*"), (server.rest_api_port, None)):
            answer = requests.get(f"http://127.0.0.1:{port}/v1/models/m", timeout=30)
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
