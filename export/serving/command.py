"""What `tfgen serve` does: find the models, start the server, say where it is, wait."""

import contextlib
import ctypes
import gc
import logging
import os
import re
import signal
import tempfile
import threading
from pathlib import Path

import tensorflow as tf

from tfgen.errors import InputError
from tfgen.export.serving import model_config
from tfgen.export.serving.server import Server

LOG = logging.getLogger(__name__)
PRODUCTION = (
    "This is tfgen's development server. In production run TF Serving itself, on the same folders."
)


def serve(options, console):
    """Serve until interrupted.

    Args:
        options: the parsed arguments of `tfgen serve`.
        console: a `rich.console.Console` to print on.

    Raises:
        InputError: nothing that can be served, an argument out of range, a port that is taken.
    """
    stop = threading.Event()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("tfgen").setLevel(logging.INFO)
    xla = contextlib.nullcontext() if options.xla_cpu_compilation_enabled else without_xla()
    with xla, tempfile.TemporaryDirectory(prefix="tfgen-serve-") as scratch:
        models = _models(options, Path(scratch))
        with Server(models, **settings(options)) as server:
            _announce(options, server, console)
            with _collector_spared(), _stopping_at(signal.SIGTERM, stop):
                while not stop.wait(1.0):
                    pass


@contextlib.contextmanager
def _collector_spared():
    """Python's garbage collector leaves alone what TensorFlow made, or it would stop requests."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def settings(options):
    """The arguments of `Server` that the flags stand for.

    Raises:
        InputError: a flag out of range.
    """
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(options, name) <= 65535:
            raise InputError(f"--{name} must lie between 0 and 65535")
    if not (options.port or options.rest_api_port or options.grpc_socket_path):
        raise InputError("--port 0 --rest_api_port 0: nothing is left to listen on")
    for name in ("rest_api_timeout_in_ms", "grpc_max_threads", "rest_api_num_threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1")
    if options.batching_parameters_file and not options.enable_batching:
        raise InputError("--batching_parameters_file is set without --enable_batching")
    same = (
        "host",
        "rest_api_timeout_in_ms",
        "rest_api_enable_cors_support",
        "grpc_socket_path",
        "model_config_file_poll_wait_seconds",
        "file_system_poll_wait_seconds",
        "allow_version_labels_for_unavailable_models",
        "max_num_load_retries",
        "load_retry_interval_micros",
        "enable_model_warmup",
        "enable_batching",
        "batching_parameters_file",
        "monitoring_config_file",
        "enable_grpc_healthcheck_service",
        "grpc_max_threads",
        "rest_api_num_threads",
    )
    return {
        **{name: getattr(options, name) for name in same},
        "port": options.port or None,
        "rest_api_port": options.rest_api_port or None,
        "grpc_channel_arguments": channel_arguments(options.grpc_channel_arguments),
    }


@contextlib.contextmanager
def without_xla():
    """Refuse functions that ask for XLA meanwhile, as TF Serving's server does.

    A signature with `jit_compile=True` fails there with INTERNAL, and so it must fail here.

    Source: `model_servers/main.cc` of tensorflow/serving.
    """
    refuse, allow = (_xla_switch(name) for name in ("21Disable", "20Enable"))
    if refuse is None or allow is None:
        LOG.warning("This TensorFlow lets XLA run, which TF Serving does not")
        yield
        return
    refuse()
    try:
        yield
    finally:
        allow()


def _xla_switch(name):
    """A function of TensorFlow's library; None under a compiler that names it differently."""
    for library in sorted(Path(tf.sysconfig.get_lib()).glob("libtensorflow_cc*")):
        with contextlib.suppress(AttributeError):
            return getattr(ctypes.CDLL(str(library)), f"_ZN10tensorflow{name}XlaCompilationEv")
    return None


def channel_arguments(text):
    """The pairs of `--grpc_channel_arguments`; numbers as numbers.

    >>> from tfgen.export.serving.command import channel_arguments
    >>> channel_arguments("grpc.max_connection_age_ms=2000,grpc.primary_user_agent=x")
    [('grpc.max_connection_age_ms', 2000), ('grpc.primary_user_agent', 'x')]
    """
    pairs = []
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise InputError(f"--grpc_channel_arguments takes KEY=VALUE,..., got {item!r}")
        pairs.append((key, int(value) if re.fullmatch(r"-?[0-9]+", value) else value))
    return pairs


def _models(options, scratch):
    if options.model_config_file:
        return options.model_config_file
    if options.model_base_path:
        return {options.model_name: _directory(options.model_base_path)}
    models = {}
    for given in options.models:
        name = Path(os.path.abspath(given)).name
        if name in models:
            raise InputError(f"two models of the name {name}: use --model_config_file")
        models[name] = _base_path(given, scratch / name)
    return models


def _base_path(given, scratch):
    """A directory of versions as it is; a pretrained model or a run is exported first."""
    if model_config.versions_on_disk(given):
        return given
    if Path(given).is_dir() and not (Path(given) / "card.json").is_file():
        raise InputError(
            f"{given} holds neither numbered versions nor a model; tfgen export writes a version"
        )
    from tfgen import export, zoo  # Keras comes with them: only where a model is exported.

    zoo.card(given)
    export.saved_model(given, scratch)
    return scratch


def _directory(path):
    if not Path(path).is_dir():
        raise InputError(f"--model_base_path {path}: there is no such directory")
    return path


def _announce(options, server, console):
    def say(text):
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    say(PRODUCTION)
    host = f"[{options.host}]" if ":" in options.host else options.host
    if server.rest_api_port is not None:
        for name in server.manager.names():
            say(f"REST  http://{host}:{server.rest_api_port}/v1/models/{name}")
    if server.port is not None:
        say(f"gRPC  {host}:{server.port}")
    if options.grpc_socket_path:
        say(f"gRPC  unix:{options.grpc_socket_path}")
    console.file.flush()


@contextlib.contextmanager
def _stopping_at(number, event):
    """A signal ends the waiting, so that requests that have arrived are answered."""
    before = signal.signal(number, lambda *_: event.set())
    try:
        yield
    finally:
        signal.signal(number, before)
