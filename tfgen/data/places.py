"""Where data is looked for and where prepared data is kept; free of TensorFlow."""

import os
from pathlib import Path


def home() -> Path:
    """tfgen's cache: the environment variable `TFGEN_HOME`, else `~/.cache/tfgen`."""
    return Path(os.environ.get("TFGEN_HOME") or "~/.cache/tfgen").expanduser().absolute()


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
