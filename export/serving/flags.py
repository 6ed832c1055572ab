"""The flags of TF Serving's server that the embedded server takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfgen import checks
from tfgen.errors import InputError

MAX_SECONDS = 1e9  # the longest interval between polls


@dataclass(frozen=True)
class Flags:
    """TF Serving's flags, with its defaults; the last one is tfgen's own.

    Args:
        host: the interface to listen on; by default only this machine can send requests.
        port: port of gRPC; 0 for any free port, None for no gRPC.
        rest_api_port: port of REST, likewise.
        rest_api_timeout_in_ms: milliseconds after which a REST request fails with 504.
        grpc_socket_path: a UNIX socket on which gRPC listens as well.
        grpc_channel_arguments: pairs of a name and a value.
        file_system_poll_wait_seconds: seconds between checks for new versions; 0 checks once.
        model_config_file_poll_wait_seconds: seconds between checks of `models.config`; 0 reads it
            once.
        allow_version_labels_for_unavailable_models: whether new labels may point to versions that
            are not available yet.
        max_num_load_retries: number of further attempts after a version has failed to load.
        load_retry_interval_micros: microseconds between these attempts.
        enable_model_warmup: whether each version runs its warm-up requests before it answers
            others.
        rest_api_enable_cors_support: whether to allow requests from pages of other origins.
        enable_batching: whether to run rows of several requests together.
        batching_parameters_file: file with TF Serving's `BatchingParameters` in text format.
        monitoring_config_file: file with TF Serving's `MonitoringConfig`, which may turn on
            metrics.
        enable_grpc_healthcheck_service: whether to offer gRPC's standard health service, for the
            services `ModelService` and `PredictionService`, and for the server as a whole.
        grpc_max_threads: number of gRPC requests that run at the same time without batching.
        rest_api_num_threads: number of REST requests, likewise.
        max_bytes: maximum size of a request, also after decompression; larger requests get 413 or
            RESOURCE_EXHAUSTED.

    Raises:
        InputError: an interval below 0, or batching parameters without batching.

    Source: `model_servers/server.h`, `model_servers/main.cc` of tensorflow/serving.
    """

    host: str = "127.0.0.1"
    port: int | None = 8500
    rest_api_port: int | None = 8501
    rest_api_timeout_in_ms: int = 30_000
    grpc_socket_path: str | Path | None = None
    grpc_channel_arguments: Sequence[tuple[str, int | str]] = ()
    file_system_poll_wait_seconds: float = 1.0
    model_config_file_poll_wait_seconds: float = 0.0
    allow_version_labels_for_unavailable_models: bool = False
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    enable_model_warmup: bool = True
    rest_api_enable_cors_support: bool = False
    enable_batching: bool = False
    batching_parameters_file: str | Path | None = None
    monitoring_config_file: str | Path | None = None
    enable_grpc_healthcheck_service: bool = False
    grpc_max_threads: int = 16
    rest_api_num_threads: int = 16
    max_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        for name in ("file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds"):
            checks.number(name, getattr(self, name), 0, MAX_SECONDS)
        for name in ("rest_api_timeout_in_ms", "grpc_max_threads", "rest_api_num_threads"):
            checks.integer(name, getattr(self, name), 1)
        for name in ("port", "rest_api_port"):
            checks.integer(name, getattr(self, name) or 0, 0, 65535)
        if self.batching_parameters_file and not self.enable_batching:
            raise InputError("batching_parameters_file is set without enable_batching")
