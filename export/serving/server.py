"""The embedded server: a manager of servables behind REST and gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path

import uvloop

from tfgen import checks
from tfgen.errors import InputError
from tfgen.export.serving import model_config, text_config
from tfgen.export.serving.batching import Scheduler
from tfgen.export.serving.batching_parameters import Parameters
from tfgen.export.serving.manager import Manager
from tfgen.export.serving.metrics import PATH, Metrics
from tfgen.export.serving.rest import Rest
from tfgen.export.serving.rpc import Rpc
from tfgen.export.serving.statuses import ServingError

MAX_BYTES = 64 * 2**20  # of a request
MAX_INTERVAL = 1e9  # seconds
LOG = logging.getLogger(__name__)


class Server:
    """TF Serving's REST and gRPC APIs over SavedModels, for development and tests.

    Production runs TF Serving itself, on the same directories and the same configuration.

    Args:
        models: from a name to a base directory, or the path of a `models.config`.
        host: the interface to listen on; by default only this machine can send requests.
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
        rest_api_enable_cors_support: allow requests from pages of other origins.
        enable_batching: run rows of several requests together.
        batching_parameters_file: TF Serving's `BatchingParameters` in text format.
        monitoring_config_file: TF Serving's `MonitoringConfig`, which may turn on metrics.
        enable_grpc_healthcheck_service: offer gRPC's standard health service.
        grpc_max_threads: gRPC requests that are answered at the same time without batching.
        rest_api_num_threads: REST requests, likewise.
        max_bytes: of a request; larger ones get 413 or RESOURCE_EXHAUSTED.

    Attributes:
        port: of gRPC, None without.
        rest_api_port: of REST, None without.
        manager: the `tfgen.export.serving.manager.Manager`.

    Raises:
        InputError: a configuration that cannot be used, an interval below 0, a version that does
            not load, a port that is in use.

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
        models: Mapping[str, str | Path] | str | Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = 8500,
        rest_api_port: int | None = 8501,
        rest_api_timeout_in_ms: int = 30_000,
        grpc_socket_path: str | Path | None = None,
        grpc_channel_arguments: Sequence[tuple[str, int | str]] = (),
        file_system_poll_wait_seconds: float = 1.0,
        model_config_file_poll_wait_seconds: float = 0.0,
        allow_version_labels_for_unavailable_models: bool = False,
        max_num_load_retries: int = 5,
        load_retry_interval_micros: int = 60_000_000,
        enable_model_warmup: bool = True,
        rest_api_enable_cors_support: bool = False,
        enable_batching: bool = False,
        batching_parameters_file: str | Path | None = None,
        monitoring_config_file: str | Path | None = None,
        enable_grpc_healthcheck_service: bool = False,
        grpc_max_threads: int = 16,
        rest_api_num_threads: int = 16,
        max_bytes: int = MAX_BYTES,
    ):
        checks.number(
            "file_system_poll_wait_seconds", file_system_poll_wait_seconds, 0, MAX_INTERVAL
        )
        checks.number(
            "model_config_file_poll_wait_seconds",
            model_config_file_poll_wait_seconds, 0, MAX_INTERVAL,
        )  # fmt: skip
        self._file = None if isinstance(models, Mapping) else models
        self._config = _config(models)
        metrics, metrics_path = Metrics(), _metrics_path(monitoring_config_file)
        parameters = _batching_parameters(enable_batching, batching_parameters_file)
        with contextlib.ExitStack() as stack:
            scheduler = None
            if parameters is not None:
                scheduler = Scheduler(parameters, metrics=metrics)
                stack.callback(scheduler.close)
            try:
                self.manager = Manager(
                    self._config,
                    load_retries=max_num_load_retries,
                    retry_seconds=load_retry_interval_micros / 1e6,
                    warm_up=enable_model_warmup,
                    labels_before_load=allow_version_labels_for_unavailable_models,
                    scheduler=scheduler,
                    metrics=metrics,
                )
            except ServingError as error:
                raise InputError(error.message) from None
            stack.callback(self.manager.close)
            listeners = []
            addresses = (
                [] if port is None else [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
            )
            if grpc_socket_path:
                addresses.append(f"unix:{grpc_socket_path}")
            if addresses:
                rpc = Rpc(
                    self.manager,
                    metrics,
                    addresses,
                    threads=grpc_max_threads,
                    max_bytes=max_bytes,
                    channel_arguments=grpc_channel_arguments,
                    healthcheck=enable_grpc_healthcheck_service,
                )
                listeners.append(rpc)
            if rest_api_port is not None:
                rest = Rest(
                    self.manager,
                    metrics,
                    host,
                    rest_api_port,
                    threads=rest_api_num_threads,
                    max_bytes=max_bytes,
                    timeout=rest_api_timeout_in_ms / 1000,
                    cors=rest_api_enable_cors_support,
                    metrics_path=metrics_path,
                )
                listeners.append(rest)
            polls = {
                self.manager.poll: file_system_poll_wait_seconds,
                self._follow_file: model_config_file_poll_wait_seconds if self._file else 0,
            }
            stack.callback(_run(listeners, polls))
            self.port = None if port is None else rpc.port
            self.rest_api_port = None if rest_api_port is None else rest.port
            self._stack = stack.pop_all()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer what has arrived, then stop."""
        self._stack.close()

    def _follow_file(self):
        """Serve what the file says if it has changed."""
        config = model_config.read(self._file)
        if config != self._config:
            self.manager.reload(config)
            self._config = config
            LOG.info("Serving the new contents of %s", self._file)


async def _main(listeners, polls, started):
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        for listener in listeners:
            stack.push_async_callback(listener.stop)
            await listener.start()
        tasks = [loop.create_task(_repeat(call, seconds)) for call, seconds in polls.items()]
        started.set_result(lambda: loop.call_soon_threadsafe(stopping.set))
        await stopping.wait()
        for task in tasks:
            task.cancel()


def _run(listeners, polls):
    """Listen in a thread of its own. Returns a function that stops."""
    started = futures.Future()

    def run():
        try:
            uvloop.run(_main(listeners, polls, started))
        except BaseException as error:
            started.set_exception(error)

    thread = threading.Thread(target=run, daemon=True, name="serve")
    thread.start()
    stop = started.result()

    def stopped():
        stop()
        thread.join()

    return stopped


async def _repeat(call, seconds):
    """Call a function at intervals in another thread; 0 never calls it."""
    while seconds:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(call)
        except Exception as error:  # such as a disk that is not there for a while
            LOG.error("%s failed: %s", call.__name__, error)


def _config(models):
    if isinstance(models, Mapping):
        return model_config.of_models(models)
    return model_config.read(models)


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
    config = text_config.read(file, text_config.MonitoringConfig()).prometheus_config
    path = config.path or PATH
    if not path.startswith("/"):
        raise InputError(f"{file}: the path of the metrics must start with /, got {path!r}")
    return path if config.enable else None
