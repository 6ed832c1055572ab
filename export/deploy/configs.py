"""TF Serving's three configuration files, and the flags that name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

IMAGE, TAG = "tensorflow/serving", "2.20.0"
CONFIG_DIR = "/config"  # in the container
GRPC, REST = 8500, 8501
METRICS = "/monitoring/prometheus/metrics"
MAX_BATCH_SIZE = 32


def models(names: Iterable[str], labels: Mapping[str, Mapping[str, int]]) -> str:
    """The text of `models.config`; the container has each model in `/models/NAME`."""
    config = model_server_config_pb2.ModelServerConfig()
    for name in sorted(names):
        model = config.model_config_list.config.add(
            name=name, base_path=f"/models/{name}", model_platform="tensorflow"
        )
        for label, version in sorted(labels.get(name, {}).items()):
            model.version_labels[label] = version
        if labels.get(name):
            versions = sorted(set(labels[name].values()))
            model.model_version_policy.specific.versions.extend(versions)
    return text_format.MessageToString(config)


def batching() -> str:
    """The text of `batching.config`: a batch runs once it is full or 2 ms old."""
    return "\n".join(
        [
            f"max_batch_size {{ value: {MAX_BATCH_SIZE} }}",
            "batch_timeout_micros { value: 2000 }",
            "max_enqueued_batches { value: 100 }",
            "num_batch_threads { value: 4 }",
            *(f"allowed_batch_sizes: {2**i}" for i in range(MAX_BATCH_SIZE.bit_length())),
            "",
        ]
    )


def monitoring() -> str:
    """The text of `monitoring.config`."""
    return f'prometheus_config {{ enable: true path: "{METRICS}" }}\n'


def flags() -> list[str]:
    """The arguments of `tensorflow_model_server`; the image's entry point sets the ports."""
    return [
        f"--model_config_file={CONFIG_DIR}/models.config",
        "--model_config_file_poll_wait_seconds=10",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={CONFIG_DIR}/monitoring.config",
        "--enable_batching=true",
        f"--batching_parameters_file={CONFIG_DIR}/batching.config",
    ]
