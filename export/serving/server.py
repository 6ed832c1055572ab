"""The embedded server: a manager of servables behind REST and gRPC."""

import logging
import threading
from pathlib import Path

from tfgen.errors import InputError
from tfgen.export.serving import batching, model_config, rest, rpc, text_config
from tfgen.export.serving.batching_parameters import Parameters
from tfgen.export.serving.manager import Manager
from tfgen.export.serving.metrics import PATH, Metrics
from tfgen.export.serving.statuses import ServingError

MOST_BYTES = 64 * 2**20  # of a request
LOG = logging.getLogger(__name__)


class Server:
    """TF Serving's REST and gRPC APIs over SavedModels, for development and tests.

    Production runs TF Serving itself, on the same folders and the same configuration.

    Args:
        models: a dict from a name to a base directory, or the path of a `models.config`.
        host: the interface to listen on; by default only this machine can ask.
        port: of gRPC; 0 for any free one, None for no gRPC.
        rest_api_port: of REST, likewise.
        rest_api_timeout_in_ms: until a REST request fails with 504.
        grpc_socket_path: a UNIX socket on which gRPC listens as well.
        grpc_channel_arguments: pairs of a name and a value.
        file_system_poll_wait_seconds: between looks for new versions; 0 looks once.
        model_config_file_poll_wait_seconds: between looks at `models.config`; 0 reads it once.
        allow_version_labels_for_unavailable_models: new labels may come before their versions.
        max_num_load_retries: attempts after a load that failed.
        load_retry_interval_micros: between these.
        enable_model_warmup: run the warm-up requests of each version before it answers others.
        rest_api_enable_cors_support: let pages from elsewhere ask.
        enable_batching: run rows of several requests together.
        batching_parameters_file: TF Serving's `BatchingParameters` in text format.
        monitoring_config_file: TF Serving's `MonitoringConfig`, which may ask for metrics.
        enable_grpc_healthcheck_service: offer gRPC's standard health service.
        grpc_max_threads: gRPC requests that are answered at once without batching.
        rest_api_num_threads: REST requests that are answered at once without batching.
        most_bytes: of a request; larger ones get 413 or RESOURCE_EXHAUSTED.

    Attributes:
        port: of gRPC, None without.
        rest_api_port: of REST, None without.
        manager: the `tfgen.export.serving.manager.Manager`.

    Raises:
        InputError: a configuration that cannot be used, an interval below 0, a version that does
            not load, a port that is taken.

    Source: `model_servers/server.h`, `model_servers/main.cc` of tensorflow/serving.

    Example:

    >>> import tempfile, numpy as np, requests, tfgen
    >>> from tfgen.export.serving.server import Server
    >>> base = tempfile.mkdtemp()
    >>> _ = tfgen.export.saved_model("vae-digits", base)
    >>> with Server({"vae": base}, port=None, rest_api_port=0) as server:
    ...     url = f"http://127.0.0.1:{server.rest_api_port}/v1/models/vae"
    ...     body = {"instances": np.zeros((2, 8, 8, 1), int).tolist()}
    ...     answer = requests.post(url + ":predict", json=body).json()
    >>> len(answer["predictions"])
    2
    """

    def __init__(
        self,
        models,
        *,
        host="127.0.0.1",
        port=8500,
        rest_api_port=8501,
        rest_api_timeout_in_ms=30_000,
        grpc_socket_path=None,
        grpc_channel_arguments=(),
        file_system_poll_wait_seconds=1.0,
        model_config_file_poll_wait_seconds=0.0,
        allow_version_labels_for_unavailable_models=False,
        max_num_load_retries=5,
        load_retry_interval_micros=60_000_000,
        enable_model_warmup=True,
        rest_api_enable_cors_support=False,
        enable_batching=False,
        batching_parameters_file=None,
        monitoring_config_file=None,
        enable_grpc_healthcheck_service=False,
        grpc_max_threads=16,
        rest_api_num_threads=16,
        most_bytes=MOST_BYTES,
    ):
        _check_interval("file_system_poll_wait_seconds", file_system_poll_wait_seconds)
        _check_interval("model_config_file_poll_wait_seconds", model_config_file_poll_wait_seconds)
        self._file = None if isinstance(models, dict) else Path(models)
        self._stop = threading.Event()
        self._threads = []
        self._rpc = self._rest = self.port = self.rest_api_port = None
        if self._file is None:
            config = model_config.of_models(models)
        else:
            config = model_config.read(self._file)
        metrics_path = _metrics_path(monitoring_config_file)
        metrics = None if metrics_path is None else Metrics()
        parameters = _batching_parameters(enable_batching, batching_parameters_file)
        self._scheduler = parameters and batching.Scheduler(parameters, metrics=metrics)
        try:
            self.manager = Manager(
                config,
                poll_seconds=file_system_poll_wait_seconds,
                load_retries=max_num_load_retries,
                retry_seconds=load_retry_interval_micros / 1e6,
                warm_up=enable_model_warmup,
                labels_before_load=allow_version_labels_for_unavailable_models,
                scheduler=self._scheduler,
                metrics=metrics,
            )
        except ServingError as error:
            self._end_batching()
            raise InputError(error.message) from None
        try:
            addresses = [] if port is None else [f"{_bracketed(host)}:{port}"]
            if grpc_socket_path:
                addresses.append(f"unix:{grpc_socket_path}")
            if addresses:
                self._rpc = rpc.Rpc(
                    self.manager,
                    addresses,
                    threads=grpc_max_threads,
                    most_bytes=most_bytes,
                    channel_arguments=grpc_channel_arguments,
                    healthcheck=enable_grpc_healthcheck_service,
                    metrics=metrics,
                )
                self.port = None if port is None else self._rpc.port
            if rest_api_port is not None:
                self._rest = rest.Rest(
                    self.manager,
                    host,
                    rest_api_port,
                    timeout=rest_api_timeout_in_ms / 1000,
                    threads=rest_api_num_threads,
                    most_bytes=most_bytes,
                    cors=rest_api_enable_cors_support,
                    metrics=metrics,
                    metrics_path=metrics_path,
                )
                self.rest_api_port = self._rest.port
        except BaseException:
            self.close()
            raise
        if self._file is not None and model_config_file_poll_wait_seconds:
            self._watch(config, model_config_file_poll_wait_seconds)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Answer what has arrived, then stop."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._rest is not None:
            self._rest.close()
        if self._rpc is not None:
            self._rpc.close()
        self.manager.close()
        self._end_batching()

    def _end_batching(self):
        if self._scheduler is not None:
            self._scheduler.close()

    def _watch(self, config, seconds):
        """Serve what the file says whenever it says something else."""

        def watch(known):
            while not self._stop.wait(seconds):
                try:
                    config = model_config.read(self._file)
                    if config != known:
                        self.manager.reload(config)
                        known = config
                        LOG.info("Serving what %s says now", self._file)
                except (InputError, ServingError, OSError) as error:
                    LOG.error("%s is not followed: %s", self._file, error)

        thread = threading.Thread(target=watch, args=(config,), daemon=True, name="models.config")
        thread.start()
        self._threads.append(thread)


def _check_interval(name, seconds):
    if not 0 <= seconds <= threading.TIMEOUT_MAX:  # nor is it NaN
        most = f"{threading.TIMEOUT_MAX:.0f}"
        raise InputError(f"{name} must lie between 0 (look once) and {most}, got {seconds:g}")


def _batching_parameters(enabled, file):
    if not enabled:
        if file is not None:
            raise InputError("batching_parameters_file is set without enable_batching")
        return None
    if file is None:
        return Parameters(thread_pool_name="model_server_batch_threads")
    return Parameters.read(file)


def _metrics_path(file):
    if file is None:
        return None
    config = text_config.read(file, "MonitoringConfig").prometheus_config
    path = config.path or PATH
    if not path.startswith("/"):
        raise InputError(f"{file}: the path of the metrics must start with /, got {path!r}")
    return path if config.enable else None


def _bracketed(host):
    return f"[{host}]" if ":" in host else host
