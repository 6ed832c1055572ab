"""Classify, Regress, MultiInference on a SavedModel of `tf.Example`s, over gRPC and REST."""

import base64

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfgen.export.serving.server import Server

X = [[1.0, 2.0], [-3.0, 0.5]]
WEIGHTS = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]], np.float32)
CLASSES = [b"a", b"b", b"c"]


class Linear(tf.Module):
    """Scores are x W, the regression is their sum; the examples hold x, two floats."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(WEIGHTS)

    def _scores(self, inputs):
        spec = {"x": tf.io.FixedLenFeature([2], tf.float32)}
        return tf.io.parse_example(inputs, spec)["x"] @ self.weights

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        scores = self._scores(inputs)
        rows = tf.shape(scores)[0]
        return {"scores": scores, "classes": tf.tile(tf.constant([CLASSES]), [rows, 1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def scores(self, inputs):
        return {"scores": self._scores(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        return {"outputs": tf.reduce_sum(self._scores(inputs), axis=1, keepdims=True)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def wide(self, inputs):
        return {"outputs": self._scores(inputs)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory, base):
    """The address of REST and a stub of a server of this model, and of one without examples."""
    path = tmp_path_factory.mktemp("linear")
    module = Linear()
    signatures = {name: getattr(module, name) for name in ("scores", "regress", "wide")}
    tf.saved_model.save(
        module, str(path / "1"), signatures={"serving_default": module.classify, **signatures}
    )
    extra = path / "1" / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        log = prediction_log_pb2.PredictionLog()
        fill(log.classify_log.request)
        writer.write(log.SerializeToString())
        log = prediction_log_pb2.PredictionLog()
        fill(log.regress_log.request, "regress")
        writer.write(log.SerializeToString())
    models = {"linear": str(path), "vae-digits": str(base)}
    with (
        Server(models, port=0, rest_api_port=0, enable_batching=True) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        yield f"http://127.0.0.1:{server.rest_api_port}/v1/models", stub


def fill(request, signature="", name="linear", rows=X):
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for row in rows:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.extend(row)
    return request


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    return caught.value.code().name, caught.value.details()


EXPECTED = np.array(X, np.float32) @ WEIGHTS


def test_classify(asked):
    _, stub = asked
    response = stub.Classify(fill(classification_pb2.ClassificationRequest()), timeout=20)
    for row, expected in zip(response.result.classifications, EXPECTED, strict=True):
        assert [c.label.encode() for c in row.classes] == CLASSES
        np.testing.assert_allclose([c.score for c in row.classes], expected, rtol=1e-6)
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    request = fill(classification_pb2.ClassificationRequest(), "scores")
    response = stub.Classify(request, timeout=20)
    assert {c.label for row in response.result.classifications for c in row.classes} == {""}


def test_regress(asked):
    _, stub = asked
    response = stub.Regress(fill(regression_pb2.RegressionRequest(), "regress"), timeout=20)
    found = [row.value for row in response.result.regressions]
    np.testing.assert_allclose(found, EXPECTED.sum(axis=1), rtol=1e-5)


def test_the_context_belongs_to_every_example(asked):
    _, stub = asked
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "linear", "regress"
    both = request.input.example_list_with_context
    both.context.features.feature["x"].float_list.value.extend(X[1])
    both.examples.add()
    both.examples.add().features.feature["more"].int64_list.value.append(7)
    found = [row.value for row in stub.Regress(request, timeout=20).result.regressions]
    np.testing.assert_allclose(found, [EXPECTED[1].sum()] * 2, rtol=1e-5)


def multi(*tasks):
    request = inference_pb2.MultiInferenceRequest()
    for name, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = name
        task.model_spec.signature_name = signature
    request.input.CopyFrom(fill(regression_pb2.RegressionRequest()).input)
    return request


def test_several_signatures_in_one_run(asked):
    _, stub = asked
    request = multi(("linear", "", "classify"), ("linear", "regress", "regress"))
    classes, numbers = stub.MultiInference(request, timeout=20).results
    scores = [[c.score for c in r.classes] for r in classes.classification_result.classifications]
    np.testing.assert_allclose(scores, EXPECTED, rtol=1e-6)
    found = [row.value for row in numbers.regression_result.regressions]
    np.testing.assert_allclose(found, EXPECTED.sum(axis=1), rtol=1e-5)
    assert numbers.model_spec.signature_name == "regress"


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            [("linear", "", "classify"), ("x", "regress", "regress")],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("linear", "regress", "regress")] * 2,
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress",
        ),
        (
            [("linear", "nope", "regress")],
            "INVALID_ARGUMENT",
            'Serving signature key "nope" not found.',
        ),
        (
            [("linear", "regress", "predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
)
def test_requests_for_several_signatures_that_are_refused(asked, tasks, code, text):
    assert refusal(asked[1].MultiInference, multi(*tasks)) == (code, text)


def test_signatures_of_another_kind_are_refused(asked):
    _, stub = asked

    def classified(*arguments, **options):
        request = fill(classification_pb2.ClassificationRequest(), *arguments, **options)
        return refusal(stub.Classify, request)

    def regressed(*arguments):
        return refusal(stub.Regress, fill(regression_pb2.RegressionRequest(), *arguments))

    for found, outputs in (
        (classified("log_prob", "vae-digits"), "['classes', 'scores']"),
        (classified("interpolate", "vae-digits"), "['classes', 'scores']"),
        (classified("regress"), "['classes', 'scores']"),
        (regressed(""), "['outputs']"),
        (regressed("log_prob", "vae-digits"), "['outputs']"),
    ):
        assert found[0] == "INVALID_ARGUMENT"
        assert found[1].endswith(f" needs inputs ['inputs'] and outputs {outputs}")
    assert classified("nope") == (
        "INVALID_ARGUMENT",
        'Serving signature key "nope" not found.',
    )
    assert classified(rows=[]) == ("INVALID_ARGUMENT", "Input is empty.")
    assert regressed("wide") == (
        "INVALID_ARGUMENT",
        "Output must have shape [batch_size] or [batch_size, 1], got [2, 3]",
    )


def test_rest(asked):
    url, _ = asked
    body = {"examples": [{"x": row} for row in X]}
    answer = requests.post(f"{url}/linear:classify", json=body, timeout=20)
    assert answer.status_code == 200
    for row, expected in zip(answer.json()["results"], EXPECTED, strict=True):
        assert [label.encode() for label, _ in row] == CLASSES
        np.testing.assert_allclose([score for _, score in row], expected, rtol=1e-6)
    body = {"signature_name": "regress", "context": {"x": X[0]}, "examples": [{}, {"x": X[1]}]}
    answer = requests.post(f"{url}/linear/versions/1:regress", json=body, timeout=20)
    expected = [EXPECTED[0].sum(), EXPECTED[1].sum()]
    np.testing.assert_allclose(answer.json()["results"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "Key 'examples' must be a list that is not empty"),
        ({"examples": 1}, "Key 'examples' must be a list that is not empty"),
        ({"examples": []}, "Key 'examples' must be a list that is not empty"),
        ({"examples": [1]}, "Example must be a JSON object, got 1"),
        ({"examples": [{"x": None}]}, "Feature x must be numbers or strings of one type"),
        ({"examples": [{"x": [[1]]}]}, "Feature x must be numbers or strings of one type"),
        ({"examples": [{"x": [1.5, 1]}]}, "Feature x must be numbers or strings of one type"),
        ({"examples": [{"x": [2**63]}]}, "Feature x has an integer of more than 64 bits"),
        ({"examples": [{"x": ["a"]}]}, "Data types don't match"),
        (
            {"examples": [{"x": {"b64": base64.b64encode(b"a").decode()}}]},
            "Data types don't match",
        ),
        ({"signature_name": "\ud800", "examples": [{}]}, "surrogates not allowed"),
        ({"examples": [{"\ud800": 1}]}, "surrogates not allowed"),
    ],
)
def test_rest_refuses(asked, body, text):
    answer = requests.post(f"{asked[0]}/linear:classify", json=body, timeout=20)
    assert answer.status_code == 400
    assert text in answer.json()["error"]
