"""Files: paths given by callers, regular files, atomic writes, JSON, digests."""

import collections
import contextlib
import errno
import hashlib
import json
import os
import re
import reprlib
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tfgen.errors import InputError

PathLike = str | os.PathLike[str]

MAX_JSON_BYTES = 2**22
MAX_JSON_DEPTH = 100  # of arrays and objects in one another
MAX_JSON_DIGITS = 100  # of an integer
_CHUNK = 2**20  # bytes
_LEAVES = (str, int, float, type(None))
_REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES)
_TEMPORARY = re.compile(r"tmp-tfgen-[a-z0-9_]{8}")  # directories that are being written


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
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.name)
        os.close(handle)
        write(Path(temporary))
        os.chmod(temporary, 0o644)
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise about(error, path, temporary) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _flush(path):
    """Wait until a file is on the disk: some file systems find only then that there is no space."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def about(error: OSError, path: PathLike, temporary: PathLike | None = None) -> OSError:
    """The error with the path that the caller knows in place of none or that of a temporary file.

    Args:
        error: an error of Python or HDF5.
        path: path of the file or directory that was to be written.
        temporary: where its content was written first.

    Example:

    >>> from tfgen import files
    >>> files.about(OSError(28, "No space left on device"), "notes.txt")
    OSError(28, 'No space left on device')
    >>> print(_)
    [Errno 28] No space left on device: 'notes.txt'
    """
    name = error.filename
    is_temporary = isinstance(name, str) and name.startswith(str(temporary or path))
    if name is not None and not is_temporary:
        return error
    number = error.errno or reason_in(str(error))
    if number is None:
        return OSError(errno.EIO, str(error), str(path))
    return OSError(number, os.strerror(number), str(path))


def write_directory_atomically(
    parent: PathLike, name: str | Callable[[], str], write: Callable[[Path], Any]
) -> Path:
    """Calls `write` with a temporary directory in `parent`, and renames it to `parent/name`.

    Readers see the complete directory or none. If `write` raises, the temporary directory, whose
    name begins with `tmp-tfgen-`, is removed, and so are the parents that were created for it. That
    of a process that was killed is removed by the next call.

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
    made = [path for path in (parent, *parent.parents) if not path.exists()]
    shown = parent / name if isinstance(name, str) else parent
    temporary, lock = None, None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        temporary, lock = _temporary_directory(parent)
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
    except BaseException as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):  # It is not empty if another process uses it.
                path.rmdir()
        if isinstance(error, OSError):
            raise about(error, shown, temporary) from error
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _temporary_directory(parent):
    """A new directory, and the descriptor of its lock, or None without locks."""
    while True:
        temporary = Path(tempfile.mkdtemp(dir=parent, prefix="tmp-tfgen-"))
        try:
            return temporary, _locked(temporary)
        except (BlockingIOError, FileNotFoundError):
            continue  # Another process took it for an abandoned one before it was locked.
        except OSError:
            return temporary, None


def _locked(directory):
    """A descriptor that locks a directory; the system releases the lock of an ended process.

    Raises:
        BlockingIOError: a running process holds the lock.
        FileNotFoundError: the directory was removed.
        OSError: the file system has no locks.
    """
    if os.name != "posix":
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.lstat(directory)):
            raise FileNotFoundError
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(parent):
    """Remove the temporary directories of processes that were killed; running ones hold locks."""
    for path in parent.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):
                lock = _locked(path)
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def reason_in(message: str) -> int | None:
    """The error number in a message of HDF5 or TensorFlow about a file that cannot be written.

    Example:

    >>> import errno
    >>> from tfgen import files
    >>> files.reason_in("out/1; No space left on device [Op:SaveV2]") == errno.ENOSPC
    True
    """
    found = re.search(r"errno = (\d+)", message)
    if found:
        return int(found[1])
    return next((number for number in _REASONS if os.strerror(number) in message), None)


def open_regular(path: PathLike) -> BinaryIO:
    """Opens a regular file for reading; a pipe, a device or a socket is refused without waiting.

    Raises:
        OSError: it cannot be opened, or is not a regular file.

    Example:

    >>> from tfgen import files
    >>> files.open_regular("/dev/zero")
    Traceback (most recent call last):
    ...
    OSError: [Errno 22] not a regular file: '/dev/zero'
    """
    # Opening a pipe waits for its other end, and its kind may change after a check by name.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
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
    """The content of a JSON file of at most `MAX_JSON_BYTES`: see `parse_json`.

    Raises:
        InputError: the file is missing, cannot be read, is too large, or is not JSON.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_JSON_BYTES:
        raise InputError(f"{path} is damaged: it has more than {MAX_JSON_BYTES:,} bytes")
    return parse_json(content, path)


def parse_json(content: bytes | str, place: object) -> Any:
    """The value of a JSON text. Every JSON that tfgen reads from others passes through here.

    NaN and infinities are accepted, because Python writes them: metrics of a card may be NaN.

    Args:
        content: the text, or its UTF-8 bytes.
        place: where it comes from, for messages.

    Raises:
        InputError: it is not JSON; arrays and objects are nested deeper than `MAX_JSON_DEPTH`; an
            object has a key twice; an integer has more than `MAX_JSON_DIGITS` digits.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        value = json.loads(text, parse_int=_integer, object_pairs_hook=_object)
        too_deep = _is_too_deep(value)
    except RecursionError:
        too_deep = True
    except ValueError as error:
        raise InputError(f"{place} is damaged: {error}") from None
    if too_deep:
        raise InputError(f"{place} is damaged: it is nested deeper than {MAX_JSON_DEPTH} levels")
    return value


def _integer(digits):
    if len(digits) > MAX_JSON_DIGITS:
        raise ValueError(f"it has an integer of {len(digits):,} digits")
    return int(digits)


def _object(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = collections.Counter(key for key, _ in pairs)
        ((twice, _),) = counts.most_common(1)
        raise ValueError(f"it has the key {reprlib.repr(twice)} twice")
    return found


def _is_too_deep(value):
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [child for one in inner if not isinstance(one, _LEAVES) for child in one]
        if not level:
            return False
    return True


def sha256(path: PathLike) -> str:
    """The hexadecimal SHA-256 digest of a regular file, read in chunks.

    Example:

    >>> import tempfile
    >>> from tfgen import files
    >>> path = files.Path(tempfile.mkdtemp()) / "empty"
    >>> path.touch()
    >>> files.sha256(path)[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
