"""The directory of a run while it is being made: one process at a time writes into it."""

import contextlib
import json
import shutil
from pathlib import Path

import filelock

from tfgen.errors import InputError
from tfgen.models import preset

LOCK = ".training"
CHECKPOINTS = "checkpoints"
PLAN = f"{CHECKPOINTS}/run.json"


@contextlib.contextmanager
def claimed(out, name):
    """A new or empty directory that no other run writes into.

    After an error nothing is left of it, unless it holds a checkpoint to go on from.

    Args:
        out: the directory; None for the first free one of `runs/NAME-001` and so on.
        name: of the recipe.

    Raises:
        InputError: the directory holds something, or another run is using it.

    Example:

    >>> import tempfile, pathlib
    >>> from tfgen.training.run_directory import claimed
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "deep" / "run"
    >>> try:
    ...     with claimed(place, "vae-digits") as out:
    ...         raise KeyboardInterrupt
    ... except KeyboardInterrupt:
    ...     place.parent.exists()
    False
    """
    directory, made, lock = _claim_next(name) if out is None else _claim(Path(out))
    try:
        yield directory
        _release(directory, lock)
    except BaseException:
        if can_be_resumed(directory):
            _release(directory, lock)
        else:
            _take_away(directory, made, lock)
        raise


def plan_of(out):
    """What was written down for the resumption of a run, a dict.

    Raises:
        InputError: there is no such run, or it is finished.
    """
    directory = Path(out)
    if (directory / preset.CARD).exists():
        raise InputError(f"--resume --out {directory}: this run is finished")
    try:
        return json.loads((directory / PLAN).read_text("utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"--resume --out {directory}: there is no run to go on with; start one without --resume"
        ) from None


@contextlib.contextmanager
def claimed_again(out):
    """The directory of a run that was stopped, for the one process that goes on with it.

    Raises:
        InputError: another process is at it.
    """
    directory = Path(out)
    lock = _locked(directory)
    try:
        yield directory
    finally:
        _release(directory, lock)


def can_be_resumed(directory):
    """Whether a directory holds a checkpoint of an unfinished run."""
    return any((directory / CHECKPOINTS).glob("step-*.ckpt"))


def _claim_next(name):
    number = 1
    while True:
        directory = Path("runs") / f"{name}-{number:03}"
        if not directory.exists():
            with contextlib.suppress(InputError):  # Another run was faster: the next number.
                return _claim(directory)
        number += 1


def _claim(directory):
    """The directory, which of it and its parents were made for it, innermost first, the lock."""
    if (directory / preset.CARD).exists():
        raise InputError(f"--out {directory} already holds a run: choose another directory")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--out {directory} is a file: choose a directory")
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    lock = _locked(directory)
    if any(path.name != LOCK for path in directory.iterdir()):
        unfinished = (directory / PLAN).exists()
        _release(directory, lock)
        if unfinished:
            raise InputError(
                f"--out {directory} holds an unfinished run: go on with it by tfgen-train --resume "
                f"--out {directory}, or choose another directory"
            )
        raise InputError(f"--out {directory} is not empty: choose another directory")
    return directory, made, lock


def _locked(directory):
    # The system lets go of the lock when the process ends, however it ends.
    lock = filelock.FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(
            f"--out {directory} is being written by another run: choose another directory"
        ) from None
    return lock


def _release(directory, lock):
    (directory / LOCK).unlink(missing_ok=True)
    lock.release()


def _take_away(directory, made, lock):
    for entry in directory.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    _release(directory, lock)
    for path in made:
        with contextlib.suppress(OSError):  # Somebody else has put something into it.
            path.rmdir()
