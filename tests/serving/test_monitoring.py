"""Metrics as Prometheus reads them, gRPC's health service, and both APIs with batching."""

import time
from concurrent import futures

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfgen.errors import InputError
from tfgen.export import Client
from tfgen.export.deploy import configs, monitoring
from tfgen.export.serving.server import Server

NAME = "vae-digits"


@pytest.fixture(scope="module")
def watched(base, tmp_path_factory):
    """A server with everything that the deployment directory turns on."""
    place = tmp_path_factory.mktemp("config")
    (place / "monitoring.config").write_text(configs.monitoring())
    (place / "batching.config").write_text(configs.batching())
    with Server(
        {NAME: str(base)},
        port=0,
        rest_api_port=0,
        enable_batching=True,
        batching_parameters_file=place / "batching.config",
        monitoring_config_file=place / "monitoring.config",
        enable_grpc_healthcheck_service=True,
    ) as server:
        yield server


def page(server, path=configs.METRICS):
    return requests.get(f"http://127.0.0.1:{server.rest_api_port}{path}", timeout=20)


def metrics(server):
    """The value of each sample."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page(server).text)
        for sample in family.samples
    }


def test_batched_requests_get_the_right_answers(watched, truth):
    images = np.random.default_rng(3).integers(0, 256, (96, 8, 8, 1), dtype=np.uint8)
    expected = truth["log_prob"](images=images)["log_prob"].numpy()
    for address in (f"http://127.0.0.1:{watched.rest_api_port}", f"127.0.0.1:{watched.port}"):
        with Client(address, NAME) as client, futures.ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda i, c=client: c.log_prob(images[i : i + 2]), range(95)))
        for i, pair in enumerate(found):
            np.testing.assert_allclose(pair, expected[i : i + 2], rtol=1e-4)
    many = metrics(watched)
    label = ("thread_pool_name", "")
    runs = many[":tensorflow:serving:batching_session:wrapped_run_count", label]
    assert 0 < runs < many[":tensorflow:serving:batching_session:queuing_latency_count", label]


def test_requests_are_counted_under_tf_servings_names(watched, images):
    address = f"http://127.0.0.1:{watched.rest_api_port}/v1/models"
    before = metrics(watched)
    with Client(f"127.0.0.1:{watched.port}", NAME) as client:
        client.log_prob(images)
    body = {"instances": images.tolist()}
    assert requests.post(f"{address}/{NAME}:predict", json=body, timeout=20).status_code == 200
    for _ in range(2):
        assert requests.post(f"{address}/{NAME}:predict", data="x", timeout=20).status_code == 400
    requests.post(f"{address}/unknown:predict", json=body, timeout=20)
    after = metrics(watched)

    def more(name, **labels):
        key = (f":tensorflow:serving:{name}", *sorted(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    assert not [name for name, *_ in after if name.endswith("_created")]
    assert more("request_count", model_name=NAME, status="OK") == 2
    assert more("request_count", model_name=NAME, status="INVALID_ARGUMENT") == 2
    assert more("request_count", model_name="", status="NOT_FOUND") == 1
    for api, entrypoint in (("Predict", "GRPC"), ("predict", "REST")):
        labels = {"model_name": NAME, "API": api, "entrypoint": entrypoint}
        assert more("request_latency_count", **labels) == 1
        assert more("request_latency_bucket", le="+Inf", **labels) == 1
        assert 10 < more("request_latency_sum", **labels) < 20e6  # microseconds
    assert more("runtime_latency_count", model_name=NAME, API="Predict", runtime="TF1") == 2


@pytest.mark.parametrize(("status", "timeout"), [("DEADLINE_EXCEEDED", 0.1), ("CANCELLED", None)])
def test_a_request_that_nobody_waits_for_is_not_counted_as_ok(
    status, timeout, base, tmp_path, images
):
    (tmp_path / "monitoring.config").write_text(configs.monitoring())
    (tmp_path / "batching.config").write_text(
        "max_batch_size { value: 4096 } batch_timeout_micros { value: 60000000 }"
    )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    with (
        Server(
            {NAME: str(base)},
            port=0,
            rest_api_port=0,
            enable_batching=True,
            batching_parameters_file=tmp_path / "batching.config",
            monitoring_config_file=tmp_path / "monitoring.config",
            enable_model_warmup=False,
        ) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):

        def counted(code):
            labels = ("model_name", NAME), ("status", code)
            return metrics(server).get((":tensorflow:serving:request_count", *labels), 0)

        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        end = time.monotonic() + 30
        while not counted(status):  # A deadline may expire just after the client has disconnected.
            assert time.monotonic() < end
            future = stub.Predict.future(request, timeout=timeout)
            time.sleep(0.2)
            future.cancel()
            time.sleep(0.1)
        assert counted("OK") == 0


def test_the_dashboard_and_the_alerts_query_existing_metrics(watched):
    names = {key[0] for key in metrics(watched)}
    assert {monitoring.REQUESTS, f"{monitoring.LATENCY}_bucket"} <= names


def test_other_paths(watched, server):
    answer = page(watched, f"{configs.METRICS}/x")
    assert (answer.status_code, answer.text) == (
        400,
        f"Unexpected path: {configs.METRICS}/x. Should be {configs.METRICS}",
    )
    assert page(server).status_code == 404  # this server has no monitoring configuration


def test_health(watched, server):
    with grpc.insecure_channel(f"127.0.0.1:{watched.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for name in ("", "ModelService", "PredictionService"):
            answer = check(health_pb2.HealthCheckRequest(service=name), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            check(health_pb2.HealthCheckRequest(service="x"), timeout=20)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", 'MonitoringConfig: 1:1: .* has no field named "nonsense"'),
        ('prometheus_config { enable: true path: "x" }', "must start with /"),
    ],
)
def test_configurations_that_are_refused(base, tmp_path, text, message):
    (tmp_path / "monitoring.config").write_text(text)
    with pytest.raises(InputError, match=message):
        Server({"m": str(base)}, monitoring_config_file=tmp_path / "monitoring.config")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Server({"m": str(base)}, monitoring_config_file=tmp_path / "nowhere")
