"""Checkpoints: files that are whole or not there, the last few and the best of them kept."""

import dataclasses
import hashlib
import io
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np

BEST = "best.ckpt"
_KIND = b"tfgen checkpoint 1 sha256 "
_HEADER = len(_KIND) + 64 + 1


class DamagedError(Exception):
    """A file that is no checkpoint, or not as it was written."""


@dataclasses.dataclass(frozen=True)
class State:
    """What a checkpoint holds.

    Attributes:
        arrays: name -> array.
        facts: whatever else, JSON-able.
    """

    arrays: dict
    facts: dict


class Checkpoints:
    """The checkpoints of a folder, one file `step-*.ckpt` each, and `best.ckpt`.

    A file is written under a temporary name, flushed to the disk and renamed, so a process that is
    killed leaves the checkpoints from before. Each carries the SHA-256 of its content.

    Args:
        folder: made when the first checkpoint is written.
        keep: how many are kept besides the best.

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

    def __init__(self, folder, keep=3):
        self.folder = Path(folder)
        self.keep = keep

    def paths(self):
        """The files of the last steps, the newest first."""
        found = self.folder.glob("step-*.ckpt")
        return sorted((p for p in found if re.fullmatch(r"step-\d+", p.stem)), reverse=True)

    def save(self, step, state):
        """Write the state after a step, then delete what is older than the last `keep`.

        Raises:
            OSError: the disk is full, for instance; the checkpoints from before are all there.
        """
        self._remove_unfinished()
        write(self.folder / f"step-{step:012}.ckpt", state)
        for old in self.paths()[self.keep :]:
            old.unlink()

    def save_best(self, state):
        """Write the state with the best validation so far in place of the one from before."""
        write(self.folder / BEST, state)

    def latest(self):
        """The state of the newest file that is whole, and `(path, reason)` of newer ones.

        The state is None if there is none.
        """
        damaged = []
        for path in self.paths():
            try:
                return read(path), damaged
            except DamagedError as error:
                damaged.append((path, str(error)))
        return None, damaged

    def best(self):
        """The state with the best validation.

        Raises:
            DamagedError: there is none that is whole.
        """
        return read(self.folder / BEST)

    def _remove_unfinished(self):
        for path in self.folder.glob(".*.unfinished"):
            path.unlink(missing_ok=True)


def write(path, state):
    """Write a state to a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.unfinished")
    facts = np.frombuffer(json.dumps(state.facts).encode(), np.uint8)
    try:
        with open(temporary, "w+b") as file:
            file.seek(_HEADER)
            np.savez(file, facts=facts, **{f"array {key}": v for key, v in state.arrays.items()})
            digest = _digest(file)
            file.seek(0)
            file.write(_KIND + digest + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def read(path):
    """The state of a file.

    Raises:
        DamagedError: it is missing, cut short, or not as it was written.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DamagedError(error.strerror) from None
    header, payload = content[:_HEADER], memoryview(content)[_HEADER:]
    if not header.startswith(_KIND):
        raise DamagedError("it is no checkpoint")
    expected = header[len(_KIND) : -1].decode("ascii", "replace")
    if hashlib.sha256(payload).hexdigest() != expected:
        raise DamagedError("its content is not what was written: the SHA-256 differs")
    try:
        with np.load(io.BytesIO(payload)) as stored:
            facts = json.loads(stored["facts"].tobytes())
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


def _flush_folder(folder):
    """Make a rename survive a power failure, where folders can be flushed."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
