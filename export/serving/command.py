"""`tfgen serve`: find the models, start the server, print its addresses, and wait."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import logging
import os
import re
import signal
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console

from tfgen.errors import InputError
from tfgen.export.serving import model_config
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.server import Server

LOG = logging.getLogger(__name__)
PRODUCTION = (
    "This is tfgen's development server. In production run TF Serving itself, on the same "
    "directories."
)


def serve(options: Namespace, console: Console) -> None:
    """Serve until interrupted.

    Args:
        options: the parsed arguments of `tfgen serve`.
        console: to print on.

    Raises:
        InputError: nothing that can be served, an argument out of range, a port that is in use.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("tfgen").setLevel(logging.INFO)
    xla = contextlib.nullcontext() if options.xla_cpu_compilation_enabled else without_xla()
    with xla, tempfile.TemporaryDirectory(prefix="tfgen-serve-") as scratch:
        models = _models(options, Path(scratch))
        with Server(models, **settings(options)) as server:
            _announce(options, server, console)
            # Python's garbage collector would pause requests to traverse what TensorFlow has
            # created.
            gc.collect()
            gc.freeze()
            _wait_for(signal.SIGTERM)


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


def _models(options, scratch):
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
        models[name] = _base_path(given, scratch / name)
    return models


def _base_path(given, scratch):
    """The given directory of versions, or one to which a pretrained model or run is exported."""
    if model_config.versions_on_disk(given):
        return given
    if Path(given).is_dir() and not (Path(given) / "card.json").is_file():
        raise InputError(
            f"{given} contains neither numbered versions nor a model; tfgen export writes a version"
        )
    from tfgen import export, zoo  # They import Keras, which is only needed to export a model.

    zoo.card(given)
    export.saved_model(given, scratch)
    return scratch


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
    console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)
    console.file.flush()


def _wait_for(number):
    """Wait for a signal or an interrupt; the server then answers the requests that have arrived."""
    stop = threading.Event()
    before = signal.signal(number, lambda *_: stop.set())
    try:
        while not stop.wait(1.0):
            pass
    finally:
        signal.signal(number, before)
