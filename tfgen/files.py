"""Files: paths given by callers, atomic writes, JSON, digests."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfgen.errors import InputError

PathLike = str | os.PathLike[str]

_CHUNK = 2**20  # bytes


def home() -> Path:
    """The directory of tfgen's cache: `TFGEN_HOME` if it is set, otherwise `~/.cache/tfgen`.

    Raises:
        InputError: `TFGEN_HOME` is not set and there is no home directory.
    """
    try:
        return expanded(os.environ.get("TFGEN_HOME") or "~/.cache/tfgen").absolute()
    except InputError:
        raise InputError(
            "there is no home directory for tfgen's cache: set the environment variable "
            "TFGEN_HOME to a writable directory"
        ) from None


def expanded(path: PathLike) -> Path:
    """The path with the home directory in place of `~` or `~user`.

    Raises:
        InputError: there is no such home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no home directory of that name") from None


def for_tensorflow(path: PathLike) -> Path:
    """The path, which TensorFlow can only use if it is text.

    Raises:
        InputError: it has bytes that are not UTF-8.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{path} is not UTF-8, and TensorFlow cannot write there: choose another name"
        ) from None
    return Path(path)


def write_atomically(path: PathLike, write: Callable[[Path], Any]) -> None:
    """Calls `write` with a temporary file in the same directory, and renames it to `path`.

    Readers see the old content or the new content, never a part of it. If `write` raises, `path` is
    unchanged and the temporary file is removed.

    Args:
        path: path of the file; its directory must exist.
        write: a function that writes the content to the path it is given, which has the same
            suffix.

    Example:

    >>> import tempfile
    >>> from tfgen import files
    >>> path = files.Path(tempfile.mkdtemp()) / "notes.txt"
    >>> files.write_atomically(path, lambda file: file.write_text("complete"))
    >>> path.read_text()
    'complete'
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.name)
    os.close(handle)
    try:
        write(Path(temporary))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        # As from a full disk: say which file could not be written.
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_directory_atomically(
    parent: PathLike, name: str | Callable[[], str], write: Callable[[Path], Any]
) -> Path:
    """Calls `write` with a temporary directory in `parent`, and renames it to `parent/name`.

    Readers see the complete directory or none. If `write` raises, the temporary directory, whose
    name begins with `tmp-`, is removed, and so is `parent` if it was created for it.

    Args:
        parent: path of the directory that contains the new one; created if missing.
        name: the name, or a function that chooses a free one when the content is complete.
        write: a function that writes the content to the directory it is given.

    Returns:
        The path of the new directory.

    Raises:
        InputError: `name` is a string, and the directory exists.

    Example:

    >>> import tempfile
    >>> from tfgen import files
    >>> parent = tempfile.mkdtemp()
    >>> path = files.write_directory_atomically(
    ...     parent, "notes", lambda folder: (folder / "1.txt").write_text("complete")
    ... )
    >>> (path / "1.txt").read_text()
    'complete'
    """
    parent = Path(parent)
    if isinstance(name, str) and (parent / name).exists():
        raise InputError(f"{parent / name} exists: choose another name")
    made = not parent.exists()
    parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=parent, prefix="tmp-"))
    try:
        write(temporary)
        temporary.chmod(0o755)
        while True:
            target = parent / (name if isinstance(name, str) else name())
            try:
                return temporary.rename(target)
            except OSError:
                if not target.exists():
                    raise
                if isinstance(name, str):  # Another process has written it meanwhile.
                    raise InputError(f"{target} exists: choose another name") from None
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if made:
            with contextlib.suppress(OSError):  # It is not empty if another process uses it.
                parent.rmdir()
        raise


def write_text(path: PathLike, text: str) -> None:
    """Writes a text file in UTF-8, atomically; bytes of file names that are not, are escaped."""
    write_atomically(path, lambda file: file.write_text(text, "utf-8", "backslashreplace"))


def write_bytes(path: PathLike, content: bytes) -> None:
    """Writes a binary file atomically."""
    write_atomically(path, lambda file: file.write_bytes(content))


def write_json(path: PathLike, value: Any) -> None:
    """Writes a JSON file, indented, atomically."""
    write_text(path, to_json(value))


def to_json(value: Any) -> str:
    """Indented JSON text that ends with a newline."""
    return json.dumps(value, indent=2) + "\n"


def read_json(path: PathLike) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def sha256(path: PathLike) -> str:
    """The hexadecimal SHA-256 digest of a file, read in chunks.

    Example:

    >>> import tempfile
    >>> from tfgen import files
    >>> path = files.Path(tempfile.mkdtemp()) / "empty"
    >>> path.touch()
    >>> files.sha256(path)[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
