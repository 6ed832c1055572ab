"""Exports of the models that `tfgen serve` is given by name, kept from one start to the next.

Each export has a directory named by its key: the digest of the model's files, of tfgen's source and
of the versions of TensorFlow and Keras. It is a base directory as TF Serving reads it, with

- `files.json`: the SHA-256 of each file of the SavedModel, written last
- `building`: locked by the process that writes the export
- `in-use`: locked by the servers that use it; its time is that of the last use

Locks end with their process, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO

import tfgen
from tfgen import files
from tfgen.errors import InputError
from tfgen.export.serving import model_config

MAX_BYTES = 2**30  # of all exports; above, those that were not used for longest are removed
PREFIX = "tfgen-serve-"  # of temporary directories
FILES, BUILDING, IN_USE = "files.json", "building", "in-use"
LOG = logging.getLogger(__name__)


class ExportCache:
    """The exports in a directory, of which some are in use by this process until it is closed.

    Args:
        directory: it is created if it is missing.

    Example:

    >>> import tempfile, tfgen
    >>> from tfgen.export.serving.export_cache import ExportCache, is_complete
    >>> cache = ExportCache(tempfile.mkdtemp())
    >>> entry = cache.use(tfgen.zoo.directory("vae-digits"))
    >>> is_complete(entry)  # `build` would export the model now
    False
    >>> cache.close()
    """

    def __init__(self, directory: files.PathLike):
        self.directory = Path(directory)
        self._in_use: dict[Path, IO] = {}

    def use(self, model: Path) -> Path:
        """The base directory for the export of a model, which no process removes until `close`.

        Args:
            model: the directory of a pretrained model or run.
        """
        entry = self.directory / key(model)
        held = _locked(entry / IN_USE, fcntl.LOCK_SH)
        assert held is not None
        os.utime(entry / IN_USE)
        self._in_use[entry] = held
        return entry

    def sweep(self, max_bytes: int = MAX_BYTES) -> None:
        """Remove what an ended process left unfinished, and the oldest exports above the limit.

        Exports that a running process writes or uses stay.
        """
        found: dict[Path, float] = {}
        for lock in self.directory.glob(f"*/{IN_USE}"):
            with contextlib.suppress(FileNotFoundError):  # Another process has removed it.
                found[lock.parent] = lock.stat().st_mtime
        total = 0
        for entry in sorted(found, key=lambda entry: found[entry], reverse=True):
            with contextlib.suppress(FileNotFoundError):
                total += sum(p.stat().st_size for p in entry.rglob("*") if p.is_file())
                if total > max_bytes or not (entry / FILES).is_file():
                    _remove(entry)

    def close(self) -> None:
        """Stop using the exports; those that are not finished are removed."""
        for entry, held in self._in_use.items():
            held.close()
            if not (entry / FILES).is_file():
                _remove(entry)
        self._in_use = {}


@contextlib.contextmanager
def opened() -> Iterator[tuple[ExportCache, Path]]:
    """The cache `<TFGEN_HOME>/exports`, and a temporary directory, which serves if that fails.

    Temporary directories of servers that were killed are removed.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if left.lstat().st_uid == os.getuid() and (left / IN_USE).is_file():
                _remove(left)
    temporary = Path(tempfile.mkdtemp(prefix=PREFIX))
    held = _locked(temporary / IN_USE, fcntl.LOCK_SH)
    assert held is not None
    try:
        directory = files.home() / "exports"
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            cache = ExportCache(directory)
    except (InputError, OSError) as error:
        LOG.warning("Exports are not kept for the next start: %s", error)
        cache = ExportCache(temporary / "exports")
    try:
        yield cache, temporary
    finally:
        cache.close()
        held.close()
        _remove(temporary)


def key(model: Path) -> str:
    """What determines an export: the model's files, tfgen's source, TensorFlow and Keras."""
    from tfgen.models import preset

    digest = hashlib.sha256()
    paths = [model / name for name in (preset.CONFIG, preset.WEIGHTS, preset.CARD)]
    for package in (tfgen, tfgen.zoo, tfgen.export):
        paths += sorted(Path(package.__path__[0]).rglob("*.py"))
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # The export says what is missing.
            digest.update(f"{path.name} {files.sha256(path)}\n".encode())
    for name in ("tensorflow", "keras", "tensorflow-probability"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # such as tensorflow-cpu
            digest.update(f"{name} {metadata.version(name)}\n".encode())
    return digest.hexdigest()[:32]


def is_complete(entry: Path) -> bool:
    """Whether an export is finished and its files are those that were written."""
    try:
        return files.read_json(entry / FILES) == _digests(entry)
    except (InputError, OSError):
        return False


def build(model: files.PathLike, entry: Path) -> None:
    """Export a model into its directory, unless another process has finished that meanwhile.

    A damaged export is replaced by the next version, so that a server which uses it stays up.

    Raises:
        InputError: the model cannot be exported.
    """
    from tfgen import export

    held = _locked(entry / BUILDING, fcntl.LOCK_EX)
    assert held is not None
    with held:
        if is_complete(entry):
            return
        (entry / FILES).unlink(missing_ok=True)
        before = list(map(Path, model_config.versions_on_disk(entry).values()))
        export.saved_model(model, entry)
        for path in before:
            shutil.rmtree(path)
        files.write_json(entry / FILES, _digests(entry))


def _digests(entry):
    paths = sorted(path for path in entry.glob("[0-9]*/**/*") if path.is_file())
    return {str(path.relative_to(entry)): files.sha256(path) for path in paths}


def _remove(entry):
    """Remove a directory unless a running process writes or uses it."""
    with contextlib.ExitStack() as stack:
        for name in (BUILDING, IN_USE):
            held = _locked(entry / name, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if held is None:
                return
            stack.enter_context(held)
        shutil.rmtree(entry, ignore_errors=True)


def _locked(path, how):
    """An open file with a lock on it; None if it is locked and `how` does not wait."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a")
            fcntl.flock(file, how)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()
        except BlockingIOError:
            file.close()
            return None
        except FileNotFoundError:  # It was removed between these calls.
            continue
