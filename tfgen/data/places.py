"""Where data is looked for and where prepared data is kept; free of TensorFlow."""

import os
from pathlib import Path

from tfgen.errors import InputError


def home() -> Path:
    """tfgen's cache: the environment variable `TFGEN_HOME`, else `~/.cache/tfgen`.

    Raises:
        InputError: neither the variable nor a home directory is there.
    """
    try:
        return expanded(os.environ.get("TFGEN_HOME") or "~/.cache/tfgen").absolute()
    except InputError:
        raise InputError(
            "there is no home directory to keep prepared data in: set the environment variable "
            "TFGEN_HOME to a folder that can be written to"
        ) from None


def data_dirs(data_dir=None) -> list[Path]:
    """Folders in which local files are looked for, in order.

    Args:
        data_dir: the only folder to look in; None: `TFGEN_DATA` if set, then `<TFGEN_HOME>/data`.
    """
    if data_dir is not None:
        return [expanded(data_dir).absolute()]
    named = os.environ.get("TFGEN_DATA")
    given = [expanded(named).absolute()] if named else []
    return [*given, home() / "data"]


def expanded(path) -> Path:
    """The path with a home directory in place of `~` or `~user`.

    Raises:
        InputError: nobody has that home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no home directory of that name") from None
