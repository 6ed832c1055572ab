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
        return Path(os.environ.get("TFGEN_HOME") or "~/.cache/tfgen").expanduser().absolute()
    except RuntimeError:
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
        return [Path(data_dir).expanduser().absolute()]
    named = os.environ.get("TFGEN_DATA")
    given = [Path(named).expanduser().absolute()] if named else []
    return [*given, home() / "data"]
