"""`tfgen serve`: find the models, start the server, prepare the models, and wait for a signal."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import gc
import logging
import os
import queue
import re
import signal
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console

from tfgen.errors import InputError
from tfgen.export.serving import export_cache, exporter, model_config
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.server import Server
from tfgen.export.serving.statuses import ServingError

LOG = logging.getLogger(__name__)
PRODUCTION = (
    "This is tfgen's development server. In production run TF Serving itself, on the same "
    "directories."
)


def serve(options: Namespace, console: Console) -> None:
    """Serve until SIGINT or SIGTERM; a second signal ends the process at once.

    The server listens before the models are prepared, and answers for each as soon as it is ready.

    Args:
        options: the parsed arguments of `tfgen serve`.
        console: to print on.

    Raises:
        InputError: nothing that can be served, an argument out of range, a port that is in use.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("tfgen").setLevel(logging.INFO)
    xla = contextlib.nullcontext() if options.xla_cpu_compilation_enabled else without_xla()
    with _signals() as signals, xla, contextlib.ExitStack() as stack:
        given = _given(options)
        models, to_export, temporary = given, None, None
        if isinstance(given, dict) and options.models:
            cache, temporary = stack.enter_context(export_cache.opened())
            is_source = {name: not model_config.versions_on_disk(given[name]) for name in given}
            models = {n: cache.use(_model(p)) if is_source[n] else p for n, p in given.items()}
            to_export = {n: given[n] for n in given if is_source[n]}
            cache.sweep()
        server = stack.enter_context(Server(models, pending=True, **settings(options)))
        _announce(options, server, console)
        preparation = Preparation(server, to_export, temporary, console, signals)
        stack.callback(preparation.stop)
        reason = signals.get()
        if isinstance(reason, InputError):
            raise reason
        _print(console, f"{reason.name}: stopping")
        # To free the models takes longer than to end the process with them.
        unfreed = [model.available() for model in server.manager.models.values()]  # noqa: F841
    _print(console, "Stopped")
    # Python's own exit would wait for a version that is being loaded, and for TensorFlow.
    os._exit(0)


class Preparation:
    """Exports and loads models one after another, in a thread, while the server answers.

    Args:
        server: a server whose models are pending.
        to_export: from the name of a model to the pretrained model or run that is exported to its
            base directory, unless it is complete there; None to load all models as TF Serving does,
            which ends if one of them does not load.
        temporary: a directory for temporary files.
        console: to print progress on.
        signals: gets an `InputError` if there is nothing to serve.
    """

    def __init__(
        self,
        server: Server,
        to_export: dict[str, str] | None,
        temporary: Path | None,
        console: Console,
        signals: queue.SimpleQueue,
    ):
        self._server, self._console, self._signals = server, console, signals
        self._start, self._stopping = time.monotonic(), False
        self._process = contextlib.ExitStack()
        run = self._load_all
        if to_export is not None:
            run = functools.partial(self._run, to_export, temporary)
        threading.Thread(target=run, name="tfgen-prepare", daemon=True).start()

    def stop(self) -> None:
        """Stop exporting."""
        self._stopping = True
        self._process.close()

    def _load_all(self):
        try:
            self._server.load()
        except InputError as error:
            self._signals.put(error)
        _settle()

    def _run(self, to_export, temporary):
        base_paths = {n: Path(m.config.base_path) for n, m in self._server.manager.models.items()}
        missing = [n for n in to_export if not export_cache.is_complete(base_paths[n])]
        exports: Iterator[str | None] = iter(())
        if missing:
            jobs = [(to_export[name], base_paths[name]) for name in missing]
            exports = self._process.enter_context(exporter.exporting(jobs, temporary))
        if self._stopping:
            self._process.close()
            return
        available = [n for n in base_paths if n not in missing and self._load(n)]
        for i, name in enumerate(missing, start=1):
            _print(self._console, f"{name}: exporting ({i} of {len(missing)})")
            error = next(exports)
            if self._stopping:
                return
            if error is not None:
                self._server.manager.fail(name, ServingError("INTERNAL", error))
                _print(self._console, f"{name}: cannot be exported: {error}")
            elif self._load(name):
                available.append(name)
        self._process.close()
        if not available:
            message = "none of the models can be served; see the messages above"
            self._signals.put(InputError(message))
        _settle()

    def _load(self, name):
        try:
            self._server.manager.load(name)
        except ServingError as error:
            _print(self._console, f"{name}: cannot be served: {error.message}")
            return False
        _print(self._console, f"{name}: ready after {time.monotonic() - self._start:.1f} s")
        return True


def settings(options: Namespace) -> dict[str, Any]:
    """The flags of the server that the command line gives.

    Raises:
        InputError: no port.
    """
    if not (options.port or options.rest_api_port or options.grpc_socket_path):
        raise InputError("--port 0 --rest_api_port 0: nothing is left to listen on")
    names = {field.name for field in dataclasses.fields(Flags)} & vars(options).keys()
    return {
        **{name: getattr(options, name) for name in names},
        "port": options.port or None,
        "rest_api_port": options.rest_api_port or None,
        "grpc_channel_arguments": channel_arguments(options.grpc_channel_arguments),
        "allowed_hosts": tuple(filter(None, options.allowed_hosts.split(","))),
    }


@contextlib.contextmanager
def without_xla() -> Iterator[None]:
    """A scope in which functions that require XLA are refused, as by TF Serving's server.

    A signature with `jit_compile=True` fails there with INTERNAL, so it must fail here as well.

    Source: `model_servers/main.cc` of tensorflow/serving.
    """
    (library,) = Path(tf.sysconfig.get_lib()).glob("libtensorflow_cc*")
    switches = [f"_ZN10tensorflow{name}XlaCompilationEv" for name in ("21Disable", "20Enable")]
    try:
        refuse, allow = (getattr(ctypes.CDLL(str(library)), name) for name in switches)
    except AttributeError:  # under a compiler that names them differently
        LOG.warning("This TensorFlow lets XLA run, which TF Serving does not")
        refuse = allow = int
    refuse()
    try:
        yield
    finally:
        allow()


def channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """The pairs in `--grpc_channel_arguments`, with numbers converted to int.

    >>> from tfgen.export.serving.command import channel_arguments
    >>> channel_arguments("grpc.max_connection_age_ms=2000,grpc.primary_user_agent=x")
    [('grpc.max_connection_age_ms', 2000), ('grpc.primary_user_agent', 'x')]
    """
    pairs: list[tuple[str, int | str]] = []
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise InputError(f"--grpc_channel_arguments takes KEY=VALUE,..., got {item!r}")
        pairs.append((key, int(value) if re.fullmatch(r"-?[0-9]+", value) else value))
    return pairs


def _given(options):
    """The path of a models.config, or what is served under each name."""
    if options.model_config_file:
        return options.model_config_file
    if options.model_base_path:
        if not Path(options.model_base_path).is_dir():
            raise InputError(f"--model_base_path {options.model_base_path} is not a directory")
        return {options.model_name: options.model_base_path}
    models = {}
    for given in options.models:
        name = Path(os.path.abspath(given)).name
        if name in models:
            raise InputError(f"two models are named {name}: use --model_config_file")
        models[name] = given
    return models


def _model(given):
    """The directory of a pretrained model or run."""
    if Path(given).is_dir() and not (Path(given) / "card.json").is_file():
        raise InputError(
            f"{given} contains neither numbered versions nor a model; tfgen export writes a version"
        )
    from tfgen import zoo

    zoo.card(given)
    return zoo.directory(given)


def _announce(options, server, console):
    lines = [PRODUCTION]
    host = f"[{options.host}]" if ":" in options.host else options.host
    if server.rest_api_port is not None:
        url = f"http://{host}:{server.rest_api_port}/v1/models"
        lines += [f"REST  {url}/{name}" for name in sorted(server.manager.models)]
    if server.port is not None:
        lines.append(f"gRPC  {host}:{server.port}")
    if options.grpc_socket_path:
        lines.append(f"gRPC  unix:{options.grpc_socket_path}")
    _print(console, "\n".join(lines))


def _print(console, text):
    console.print(text, soft_wrap=True, highlight=False, markup=False)
    console.file.flush()


def _settle():
    """Python's garbage collector would pause requests to traverse what TensorFlow has created."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def _signals():
    """A queue of the first signal that arrives."""
    found: queue.SimpleQueue = queue.SimpleQueue()  # its `put` is safe in a signal handler
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, _):
        found.put(signal.Signals(number))
        for other in before:
            signal.signal(other, signal.SIG_DFL)

    try:
        for number in before:
            signal.signal(number, stop)
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
