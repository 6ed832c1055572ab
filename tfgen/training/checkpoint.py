"""Checkpoints: files written atomically, of which the last few and the best are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.files import about, parse_json

BEST = "best.ckpt"
_KIND = b"tfgen checkpoint 2 sha256 "
_ANY_KIND = b"tfgen checkpoint "
_HEADER = len(_KIND) + 64 + 1


class DamagedError(Exception):
    """A file that is not a checkpoint, or whose content has changed."""


@dataclasses.dataclass(frozen=True)
class State:
    """The content of a checkpoint.

    Attributes:
        arrays: name -> array.
        facts: everything else, as values that JSON can represent.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


class Checkpoints:
    """The checkpoints in a directory, files `step-*.ckpt`, and `best.ckpt`.

    A file is written under a temporary name, flushed to the disk and renamed, so that earlier
    checkpoints remain intact if the process is killed. Each file contains the SHA-256 digest of its
    content.

    Args:
        directory: created when the first checkpoint is written.
        keep: how many are kept in addition to the best one.

    Example:

    >>> import tempfile, numpy as np
    >>> from tfgen.training.checkpoint import Checkpoints, State
    >>> checkpoints = Checkpoints(tempfile.mkdtemp(), keep=2)
    >>> for step in (10, 20, 30):
    ...     checkpoints.save(step, State({"weights": np.arange(3)}, {"step": step}))
    >>> [path.name for path in checkpoints.paths()]
    ['step-000000000030.ckpt', 'step-000000000020.ckpt']
    >>> state, damaged = checkpoints.latest()
    >>> state.facts, state.arrays["weights"], damaged
    ({'step': 30}, array([0, 1, 2]), [])
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 3) -> None:
        self.directory = Path(directory)
        self.keep = keep

    def paths(self) -> list[Path]:
        """The files of the last steps, newest first."""
        found = self.directory.glob("step-*.ckpt")
        return sorted((p for p in found if re.fullmatch(r"step-\d+", p.stem)), reverse=True)

    def save(self, step: int, state: State) -> None:
        """Write the state after a step, then delete all but the last `keep` files.

        Raises:
            OSError: the disk is full, for instance; the earlier checkpoints are kept.
        """
        self._remove_unfinished()
        write(self.directory / f"step-{step:012}.ckpt", state)
        for old in self.paths()[self.keep :]:
            old.unlink()

    def save_best(self, state: State) -> None:
        """Write the state with the best validation so far in place of the previous one."""
        write(self.directory / BEST, state)

    def latest(self) -> tuple[State | None, list[tuple[Path, str]]]:
        """The state in the newest intact file, and `(path, reason)` of newer, damaged ones.

        The state is None if no file is intact.
        """
        damaged: list[tuple[Path, str]] = []
        for path in self.paths():
            try:
                return read(path), damaged
            except DamagedError as error:
                damaged.append((path, str(error)))
        return None, damaged

    def best(self) -> State:
        """The state with the best validation.

        Raises:
            DamagedError: the file is missing or damaged.
        """
        return read(self.directory / BEST)

    def _remove_unfinished(self):
        for path in self.directory.glob(".*.unfinished"):
            path.unlink(missing_ok=True)


def write(path: Path, state: State) -> None:
    """Write a state to a file, which appears only when it is complete.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.unfinished")
    arrays: dict[str, Any] = {f"array {key}": v for key, v in state.arrays.items()}
    facts = np.frombuffer(json.dumps(state.facts).encode(), np.uint8)
    try:
        with open(temporary, "w+b") as file:
            file.seek(_HEADER)
            np.savez(file, **{"facts": facts, **arrays})
            digest = _digest(file)
            file.seek(0)
            file.write(_KIND + digest + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_directory(path.parent)
    except OSError as error:
        raise about(error, path, temporary) from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> State:
    """The state in a file.

    Raises:
        DamagedError: the file is missing or truncated, or its content has changed.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DamagedError(error.strerror) from None
    header, payload = content[:_HEADER], memoryview(content)[_HEADER:]
    if not header.startswith(_KIND):
        if header.startswith(_ANY_KIND):
            raise DamagedError("another version of tfgen wrote it")
        raise DamagedError("it is not a checkpoint")
    expected = header[len(_KIND) : -1].decode("ascii", "replace")
    if hashlib.sha256(payload).hexdigest() != expected:
        raise DamagedError("its content is not what was written: the SHA-256 differs")
    try:
        with np.load(io.BytesIO(payload)) as stored:
            facts = parse_json(stored["facts"].tobytes(), "its description")
            arrays = {
                key.removeprefix("array "): stored[key] for key in stored.files if key != "facts"
            }
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedError(str(error)) from None
    return State(arrays, facts)


def _digest(file):
    file.seek(_HEADER)
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest().encode()


def _flush_directory(directory):
    """Make a rename survive a power failure, if the system can flush directories."""
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
