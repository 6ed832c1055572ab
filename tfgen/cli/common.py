"""Code that several commands share: arguments, checks of output files, a quiet start."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tfgen.errors import InputError


def model_argument(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument MODEL."""
    parser.add_argument(
        "model", metavar="MODEL", help="name of a pretrained model, or run directory"
    )


def data_dir_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option --data-dir."""
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="directory of the local data sets (default: $TFGEN_DATA)",
    )


def output_file(name: str) -> Path:
    """The path that an option --out FILE gives.

    Raises:
        InputError: the path is a directory, its directory does not exist, or it must not be
            written.
    """
    path = Path(name)
    if path.is_dir():
        raise InputError(f"--out {name} is a directory: give a file")
    if not path.parent.is_dir():
        raise InputError(f"--out {name}: there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"--out {name}: there is no permission to write it")
    return path


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Within the context, messages that TensorFlow writes to stderr are discarded.

    TensorFlow writes some of them when it starts, independently of the log level. With the
    environment variable TF_CPP_MIN_LOG_LEVEL=0, all are printed.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices()
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
