"""The embedded server: a manager of servables behind REST and gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import uvloop

from tfgen.errors import InputError
from tfgen.export.serving import model_config, text_config
from tfgen.export.serving.batching import Scheduler
from tfgen.export.serving.batching_parameters import Parameters
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.limits import Turns
from tfgen.export.serving.manager import Manager
from tfgen.export.serving.metrics import PATH, Metrics
from tfgen.export.serving.rest import Rest
from tfgen.export.serving.rpc import Rpc
from tfgen.export.serving.statuses import ServingError

LOG = logging.getLogger(__name__)


class Server:
    """TF Serving's REST and gRPC APIs over SavedModels, for development and tests.

    Production runs TF Serving itself, on the same directories and the same configuration.

    Args:
        models: a dict from a name to a base directory, or the path of a `models.config`.
        pending: whether the models wait for `load`, or `manager.load` of each.
        flags: those of `tfgen.export.serving.flags.Flags`.

    Attributes:
        port: port of gRPC, None without gRPC.
        rest_api_port: port of REST, None without REST.
        manager: the `tfgen.export.serving.manager.Manager`.

    Raises:
        InputError: a flag or a configuration that cannot be used, a version that does not load, a
            port that is in use.

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
        pending: bool = False,
        **flags: Any,
    ):
        self._flags = Flags(**flags)
        self._file = None if isinstance(models, Mapping) else models
        if isinstance(models, Mapping):
            self._config = model_config.of_models(models)
        else:
            self._config = model_config.read(models)
        metrics_path = _metrics_path(self._flags.monitoring_config_file)
        metrics = Metrics(enabled=metrics_path is not None)
        parameters = _batching_parameters(self._flags)
        self._closing = threading.Event()
        with contextlib.ExitStack() as stack:
            scheduler = None
            if parameters is not None:
                scheduler = Scheduler(parameters, metrics=metrics)
                stack.callback(scheduler.close)
            try:
                self.manager = Manager(
                    self._config, self._flags, scheduler=scheduler, metrics=metrics, pending=True
                )
            except ServingError as error:
                raise InputError(error.message) from None
            stack.callback(self.manager.close)
            turns = Turns(self._flags.max_large_requests)
            rpc = Rpc(self.manager, metrics, self._flags, turns)
            rest = Rest(self.manager, metrics, self._flags, turns, metrics_path)
            started: Future = Future()
            listeners: list[Rest | Rpc] = []
            if self._flags.rest_api_port is not None:
                listeners.append(rest)
            if self._flags.port is not None or self._flags.grpc_socket_path:
                listeners.append(rpc)
            thread = threading.Thread(target=self._run, args=(listeners, started), daemon=True)
            thread.start()
            stop = started.result()
            stack.callback(thread.join)
            stack.callback(stop)
            self.port, self.rest_api_port = rpc.port, rest.port
            if not pending:
                self.load()
            self._poll(self.manager.poll, self._flags.file_system_poll_wait_seconds)
            if self._file is not None:
                self._poll(self._follow_file, self._flags.model_config_file_poll_wait_seconds)
            self._stack = stack.pop_all()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def load(self) -> None:
        """Load the models of a pending server.

        Raises:
            InputError: a version does not load, or a label points to none that is available.
        """
        try:
            self.manager.reload(self._config)
        except ServingError as error:
            raise InputError(error.message) from None

    def close(self) -> None:
        """Answer the requests that have arrived, then stop."""
        self._closing.set()
        self._stack.close()

    def _run(self, listeners, started):
        try:
            uvloop.run(self._main(listeners, started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _main(self, listeners, started):
        """Listen until the function that becomes the result of `started` is called."""
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            for listener in listeners:
                stack.push_async_callback(listener.stop)
                await listener.start()
            started.set_result(lambda: loop.call_soon_threadsafe(stopping.set))
            await stopping.wait()

    def _poll(self, call, seconds):
        """Call a function at intervals in another thread; 0 never calls it."""

        def repeat():
            while not self._closing.wait(seconds):
                try:
                    call()
                except Exception as error:  # for example if a disk is unavailable for a while
                    LOG.error("%s failed: %s", call.__name__, error)

        if seconds:
            threading.Thread(target=repeat, name="tfgen-poll", daemon=True).start()

    def _follow_file(self):
        """Serve the configuration in the file if it has changed."""
        assert self._file is not None
        config = model_config.read(self._file)
        if config != self._config:
            self.manager.reload(config)
            self._config = config
            LOG.info("Serving the new contents of %s", self._file)


def _batching_parameters(flags):
    if not flags.enable_batching:
        return None
    if flags.batching_parameters_file is None:
        return Parameters(thread_pool_name="model_server_batch_threads")
    return Parameters.read(flags.batching_parameters_file)


def _metrics_path(file):
    if file is None:
        return None
    config = text_config.read(file, text_config.MonitoringConfig()).prometheus_config
    path = config.path or PATH
    if not path.startswith("/"):
        raise InputError(f"{file}: the path of the metrics must start with /, got {path!r}")
    return path if config.enable else None
