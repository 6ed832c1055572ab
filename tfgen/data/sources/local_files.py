"""Files of published data sets on this machine: finding, unpacking and recognizing them."""

import bz2
import gzip
import hashlib
import logging
import lzma
import os
import zlib
from pathlib import Path

from tfgen.errors import InputError
from tfgen.files import expanded, home

_OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_log = logging.getLogger(__name__)


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


def spellings(path: Path, *names: str) -> Path | None:
    """The first file in a folder of one of these names, as it is or compressed; None if none."""
    for name in names:
        for suffix in ("", *_OPENERS):
            if (path / f"{name}{suffix}").is_file():
                return path / f"{name}{suffix}"
    return None


def missing(title: str, data_dir, found: str, files: str, page: str) -> InputError:
    """The error that says where was looked, what was expected there and how to get it.

    Args:
        title: the data set's name.
        data_dir: as the caller gave it.
        found: what was there instead, "" if nothing.
        files: the files that are expected and their folder.
        page: the web page that has them.
    """
    places = " and ".join(str(place) for place in data_dirs(data_dir))
    absent = [str(place) for place in data_dirs(data_dir) if not place.is_dir()]
    note = f" (no such folder: {', '.join(absent)})" if absent else ""
    return InputError(
        f"{title} is not in {places}{note}{found}; download it from {page} and put {files} there, "
        "or say where it is with the environment variable TFGEN_DATA or with --data-dir "
        "(data_dir in Python)"
    )


def fingerprint(path: Path) -> list:
    """What tells that a file was exchanged without reading it: path, size and time of change."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def read(path: Path) -> bytes:
    """Content of a file, unpacked if its suffix is .gz, .xz or .bz2.

    Raises:
        InputError: the file cannot be read, or its compression is damaged or cut short.
    """
    try:
        with _OPENERS.get(path.suffix, open)(path, "rb") as file:
            return file.read()
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"its compression is broken ({error})") from None
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror or error})") from None


def damaged(path: Path, reason: str) -> InputError:
    """The error for a file that is there and unusable."""
    return InputError(f"{path}: {reason}; replace the file by a fresh download")


def record(path: Path, content: bytes, published: str | None) -> dict:
    """Provenance of a file, with a warning where its content is not the published one.

    Args:
        path: where it was found; only its name is recorded.
        content: the unpacked content.
        published: MD5 of the published content; None: there is none.
    """
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if published is not None and md5 != published:
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
