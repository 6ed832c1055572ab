"""The flags of TF Serving's server that the embedded server takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfgen import checks
from tfgen.errors import InputError
from tfgen.export.serving.limits import Limits

HOST = re.compile(r"\*|\.?[^\s:/*.,][^\s:/*,]*")
MAX_SECONDS = 1e9  # the longest interval between polls


@dataclass(frozen=True)
class Flags:
    """TF Serving's flags, with its defaults; those from `max_bytes` on are tfgen's own.

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
            RESOURCE_EXHAUSTED. Also the maximum size of the inputs that it declares.
        max_rows: maximum number of rows of a request; larger ones get the same answers.
        max_result_bytes: maximum size of the outputs of a request, as arrays.
        max_large_requests: number of requests that take more than 8 MiB of memory which run at the
            same time; the next 8 wait for their turn, further ones get UNAVAILABLE.
        max_connections: maximum number of open connections to each port, or fewer if the process
            may open few files; further ones wait over REST and are closed over gRPC.
        rest_api_header_timeout_in_ms: milliseconds in which the header of a REST request must
            arrive; its body has `rest_api_timeout_in_ms`.
        rest_api_idle_timeout_in_ms: milliseconds after which a REST connection without requests is
            closed.
        allowed_hosts: names under which REST requests may reach the server, besides localhost, IP
            addresses and the name of this machine: `name`, `.domain` for all names of a domain, or
            `*` for any; see `tfgen.export.serving.origins`.

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
    max_rows: int = 200_000
    max_result_bytes: int = 32 * 2**20
    max_large_requests: int = 2
    max_connections: int = 512
    rest_api_header_timeout_in_ms: int = 10_000
    rest_api_idle_timeout_in_ms: int = 75_000
    allowed_hosts: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds"):
            checks.number(name, getattr(self, name), 0, MAX_SECONDS)
        positive = ["rest_api_timeout_in_ms", "grpc_max_threads", "rest_api_num_threads"]
        positive += ["max_bytes", "max_rows", "max_result_bytes", "max_large_requests"]
        positive += ["max_connections", "rest_api_header_timeout_in_ms"]
        positive += ["rest_api_idle_timeout_in_ms"]
        for name in positive:
            checks.integer(name, getattr(self, name), 1)
        for name in self.allowed_hosts:
            if not HOST.fullmatch(name):
                raise InputError(f"allowed_hosts: {name!r} is not the name of a host or *")
        for name in ("port", "rest_api_port"):
            checks.integer(name, getattr(self, name) or 0, 0, 65535)
        if self.batching_parameters_file and not self.enable_batching:
            raise InputError("batching_parameters_file is set without enable_batching")

    @property
    def limits(self) -> Limits:
        """The limits of one request."""
        return Limits(self.max_rows, self.max_result_bytes, self.max_bytes)
