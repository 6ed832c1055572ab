"""Local files of published data sets: finding, unpacking and recognizing them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import logging
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tfgen.errors import InputError
from tfgen.files import PathLike, expanded, home, open_regular

_OPENERS: dict[str, Callable] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
MAX_BYTES = 2**28  # of an unpacked file; the largest published one has 47 MB
_log = logging.getLogger(__name__)


def data_dirs(data_dir: PathLike | None = None) -> list[Path]:
    """The directories that are searched for local files, in order.

    Args:
        data_dir: the only directory to search; None for the one in `TFGEN_DATA`, if set, then
            `<TFGEN_HOME>/data`.
    """
    if data_dir is not None:
        return [expanded(data_dir).absolute()]
    named = os.environ.get("TFGEN_DATA")
    given = [expanded(named).absolute()] if named else []
    return [*given, home() / "data"]


def find(directory: Path, *names: str) -> Path | None:
    """The first file with one of these names, compressed or not; None if there is none."""
    for name in names:
        for suffix in ("", *_OPENERS):
            if (directory / f"{name}{suffix}").is_file():
                return directory / f"{name}{suffix}"
    return None


def missing(title: str, data_dir: PathLike | None, found: str, files: str, page: str) -> InputError:
    """The error that says where the files were searched for, and how to get them.

    Args:
        title: title of the data set.
        data_dir: as the caller gave it.
        found: a description of the incomplete files found, or "".
        files: the files that are expected, with their directory.
        page: the web page to download them from.
    """
    searched = data_dirs(data_dir)
    absent = [str(directory) for directory in searched if not directory.is_dir()]
    note = f" (no such directory: {', '.join(absent)})" if absent else ""
    return InputError(
        f"{title} is not in {' and '.join(map(str, searched))}{note}{found}; download it from "
        f"{page} and put {files} there, or give its directory with the environment variable "
        "TFGEN_DATA or with --data-dir (data_dir in Python)"
    )


def fingerprint(path: Path) -> list[str | int]:
    """Path, size and modification time, to detect a changed file without reading it."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def read(path: Path) -> bytes:
    """The content of a file, unpacked if its suffix is .gz, .xz or .bz2.

    Raises:
        InputError: the file cannot be read, its compression is damaged or cut short, or it has more
            than 256 MiB.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_regular(path))
            if path.suffix in _OPENERS:
                file = stack.enter_context(_OPENERS[path.suffix](file, "rb"))
            return limited(file, path)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"its compression is broken ({error})") from None
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror or error})") from None


def limited(file: IO[bytes], path: Path) -> bytes:
    """The content of an open file.

    Raises:
        InputError: it has more than 256 MiB.
    """
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise damaged(path, f"it has more than {MAX_BYTES:,} bytes")
    return content


def damaged(path: Path, reason: str) -> InputError:
    """The error for a file that exists but cannot be used."""
    return InputError(f"{path}: {reason}; replace the file with a fresh download")


def provenance(path: Path, content: bytes, published: str) -> dict[str, Any]:
    """The provenance of a file; logs a warning if its content is not the published one.

    Args:
        path: path of the file; only its name is recorded.
        content: the unpacked content.
        published: MD5 of the published content.
    """
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != published:
        _log.warning(
            "%s is not the published file: the MD5 of its content is %s, not %s; it is used as is",
            path,
            md5,
            published,
        )
    return {
        "file": path.name,
        "bytes": len(content),
        "md5": md5,
        "sha256": hashlib.sha256(content).hexdigest(),
        "published": md5 == published,
    }
