"""The deployment directory: its files parse, and their references resolve."""

import json
import re
import subprocess

import pytest
import requests
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from ruamel.yaml import YAML

from tfgen.errors import InputError
from tfgen.export import deploy
from tfgen.export.serving import model_config
from tfgen.export.serving.server import Server

NAME = "vae-digits"


@pytest.fixture(scope="module")
def directory(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("deploy") / "out"
    return deploy.write(out, {NAME: base, "second": base}, labels={NAME: {"stable": 1}})


def read(path):
    return YAML(typ="safe", pure=True).load(path)


def test_models_config_is_tf_servings(directory):
    config = model_config.read(directory / "config" / "models.config")
    first, second = sorted(config.model_config_list.config, key=lambda m: m.name != NAME)
    assert (first.name, first.base_path) == (NAME, f"/models/{NAME}")
    assert dict(first.version_labels) == {"stable": 1}
    assert list(first.model_version_policy.specific.versions) == [1]
    assert not second.version_labels


def test_the_embedded_server_runs_the_same_configuration(directory, base, tmp_path):
    text = (directory / "config" / "models.config").read_text()
    for name in (NAME, "second"):
        text = text.replace(f"/models/{name}", str(base))
    (tmp_path / "models.config").write_text(text)
    with Server(tmp_path / "models.config", port=None, rest_api_port=0) as server:
        for path in (f"{NAME}/labels/stable", "second"):
            url = f"http://127.0.0.1:{server.rest_api_port}/v1/models/{path}/metadata"
            assert requests.get(url, timeout=20).status_code == 200
        # The container's probe, run as the container runs it.
        test = read(directory / "docker-compose.yml")["services"]["serving"]["healthcheck"]["test"]
        assert test[:2] == ["CMD", "bash"]
        words = [word.replace("8501", str(server.rest_api_port)) for word in test[1:]]
        assert subprocess.run(words, timeout=20, check=False).returncode == 0
        words[-1] = words[-1].replace("models/second", "models/missing")
        assert subprocess.run(words, timeout=20, check=False).returncode != 0


def test_batching_and_monitoring_configs_parse(directory):
    """They parse as the messages that tensorflow/serving declares; its wheel lacks these two."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="x", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, **fields):
        made = file.message_type.add(name=name)
        for i, (field, (kind, repeated)) in enumerate(fields.items()):
            entry = made.field.add(name=field, number=i + 1)
            entry.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if isinstance(kind, str):
                entry.type, entry.type_name = kinds.TYPE_MESSAGE, f".x.{kind}"
            else:
                entry.type = kind

    message("Int64Value", value=(kinds.TYPE_INT64, False))
    message("PrometheusConfig", enable=(kinds.TYPE_BOOL, False), path=(kinds.TYPE_STRING, False))
    message("MonitoringConfig", prometheus_config=("PrometheusConfig", False))
    wrapped = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")
    message(
        "BatchingParameters",
        **dict.fromkeys((*wrapped, "num_batch_threads"), ("Int64Value", False)),
        allowed_batch_sizes=(kinds.TYPE_INT64, True),
    )
    pool.Add(file)

    def parsed(name, file_name):
        made = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"x.{name}"))()
        return text_format.Parse((directory / "config" / file_name).read_text(), made)

    batching = parsed("BatchingParameters", "batching.config")
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == batching.max_batch_size.value
    assert batching.num_batch_threads.value > 0
    monitoring = parsed("MonitoringConfig", "monitoring.config")
    assert monitoring.prometheus_config.enable
    scraped = read(directory / "prometheus" / "prometheus.yml")["scrape_configs"][0]
    assert scraped["metrics_path"] == monitoring.prometheus_config.path


def test_compose_mounts_what_the_flags_name(directory, base):
    services = read(directory / "docker-compose.yml")["services"]
    targets = {m["target"]: m["source"] for s in services.values() for m in s["volumes"]}
    assert targets[f"/models/{NAME}"] == str(base)
    for target, source in targets.items():
        assert (directory / source).exists(), target
    for flag in services["serving"]["command"]:
        value = flag.split("=", 1)[1]
        if value.startswith("/"):
            (mount,) = [t for t in targets if value.startswith(f"{t}/")]
            assert (directory / targets[mount] / value[len(mount) + 1 :]).is_file()
    for service in services.values():
        assert re.search(r":v?[0-9]+\.[0-9]+\.[0-9]+$", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    (job,) = read(directory / "prometheus" / "prometheus.yml")["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert host in services
    assert f"127.0.0.1:{port}:{port}" in services[host]["ports"]
    (source,) = read(directory / "grafana" / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"].split("//")[1].split(":")[0] in services
    dashboard = json.loads((directory / "grafana" / "dashboards" / "serving.json").read_text())
    assert {p["datasource"]["uid"] for p in dashboard["panels"]} == {source["uid"]}
    (provider,) = read(directory / "grafana" / "providers" / "tfgen.yml")["providers"]
    assert provider["options"]["path"] in targets


def test_kustomize_manifests_refer_to_each_other(directory):
    kubernetes = directory / "kubernetes"
    for kustomization in kubernetes.glob("*/kustomization.yaml"):
        for resource in read(kustomization)["resources"]:
            assert (kustomization.parent / resource).exists()
    (config_map,) = read(kubernetes / "base" / "kustomization.yaml")["configMapGenerator"]
    for name in config_map["files"]:
        text = (kubernetes / "base" / name).read_text()
        assert text == (directory / "config" / name).read_text()
    deployment = read(kubernetes / "base" / "deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"] for port in container["ports"]}
    service = read(kubernetes / "production" / "service.yaml")
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert service["spec"]["selector"].items() <= labels.items()
    assert "track" not in service["spec"]["selector"]  # the canary answers behind it as well
    budget = read(kubernetes / "production" / "disruption.yaml")
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    scaler = read(kubernetes / "production" / "autoscaler.yaml")
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    assert volumes[mounts["/config"]]["configMap"]["name"] == config_map["name"]
    for flag in container["args"]:
        value = flag.split("=", 1)[1]
        if value.startswith("/"):
            assert value.removeprefix("/config/") in config_map["files"]
    probe = container["readinessProbe"]["httpGet"]
    assert probe == {"path": "/v1/models/second/metadata", "port": "rest"}
    assert pod["securityContext"]["runAsNonRoot"]


def test_the_canary_is_a_deployment_of_its_own(directory):
    """Its patches, applied by the test: another name, another selector, the same Service."""
    kustomization = read(directory / "kubernetes" / "canary" / "kustomization.yaml")
    deployment = read(directory / "kubernetes" / "base" / "deployment.yaml")
    (patch,) = kustomization["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": deployment["metadata"]["name"]}
    for operation in read(patch["patch"]):
        *path, last = operation["path"].strip("/").split("/")
        place = deployment
        for key in path:
            place = place[key]
        place[last] = operation["value"]
    assert kustomization["nameSuffix"] == "-canary"
    assert deployment["spec"]["replicas"] == 1
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector["track"] == "canary"
    assert deployment["spec"]["template"]["metadata"]["labels"] == selector
    service = read(directory / "kubernetes" / "production" / "service.yaml")
    assert service["spec"]["selector"].items() <= selector.items()


@pytest.mark.parametrize(
    ("models", "labels", "message"),
    [
        ({}, {}, "no models"),
        ({"A b": "{base}"}, {}, "model name 'A b'"),
        ({"m": "{base}/1"}, {}, "holds no version of m"),
        ({"m": "{base}"}, {"m": {"stable": 9}}, "has no version 9"),
        ({"m": "{base}"}, {"n": {"stable": 1}}, "not deployed"),
    ],
)
def test_invalid_deployments_are_refused(models, labels, message, base, tmp_path):
    models = {name: path.format(base=base) for name, path in models.items()}
    with pytest.raises(InputError, match=message):
        deploy.write(tmp_path / "out", models, labels=labels)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(directory, base):
    with pytest.raises(InputError, match="exists"):
        deploy.write(directory, {NAME: base})
