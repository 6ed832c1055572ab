"""The directory of an unfinished run, into which one process at a time writes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from tfgen.errors import InputError
from tfgen.files import PathLike, for_tensorflow, read_json
from tfgen.models import preset
from tfgen.training.checkpoint import BEST

LOCK = ".training"
CHECKPOINTS = "checkpoints"
PLAN = f"{CHECKPOINTS}/run.json"
PLAN_ENTRIES = ("recipe", "settings")


@contextlib.contextmanager
def claimed(out: PathLike | None, name: str) -> Iterator[Path]:
    """A new or empty directory that no other run writes into.

    After an error, the directory is removed unless it contains a checkpoint to resume from, the
    best weights, or the plan of a run whose files could not all be written.

    Args:
        out: the directory; None for the first free one of `runs/NAME-001` and so on.
        name: name of the recipe.

    Raises:
        InputError: the directory is not empty, or another run is using it.

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
    directory, made, lock = _claim_next(name) if out is None else _claim(for_tensorflow(out))
    try:
        yield directory
        _release(directory, lock)
    except BaseException as error:
        unwritten = isinstance(error.__cause__, OSError) and (directory / PLAN).exists()
        if unwritten or can_be_resumed(directory) or (directory / CHECKPOINTS / BEST).exists():
            _release(directory, lock)
        else:
            _remove(directory, made, lock)
        raise


def plan_of(out: PathLike) -> dict[str, Any]:
    """The recipe and the settings that are needed to resume a run.

    Raises:
        InputError: there is no unfinished run, or its file is damaged.
    """
    directory = Path(out)
    if (directory / preset.CARD).exists():
        raise InputError(f"--resume --out {directory}: this run is finished")
    if not (directory / PLAN).exists():
        raise InputError(
            f"--resume --out {directory}: there is no run to resume; start one without --resume"
        )
    plan = read_json(directory / PLAN)
    if not (isinstance(plan, dict) and all(type(plan.get(k)) is dict for k in PLAN_ENTRIES)):
        raise InputError(f"{directory / PLAN} is damaged: it has no {' and '.join(PLAN_ENTRIES)}")
    return plan


@contextlib.contextmanager
def claimed_again(out: PathLike) -> Iterator[Path]:
    """The directory of a run that was stopped, for the one process that resumes it.

    Raises:
        InputError: another process is using it.
    """
    directory = Path(out)
    lock = _locked(directory)
    try:
        yield directory
    finally:
        _release(directory, lock)


def can_be_resumed(directory: Path) -> bool:
    """Whether a directory contains a checkpoint of an unfinished run."""
    return any((directory / CHECKPOINTS).glob("step-*.ckpt"))


def _claim_next(name):
    number = 1
    while True:
        directory = Path("runs") / f"{name}-{number:03}"
        if not directory.exists():
            with contextlib.suppress(
                InputError
            ):  # Another run has claimed it: try the next number.
                return _claim(directory)
        number += 1


def _claim(directory):
    """The directory, the created directories (innermost first) and the lock."""
    if (directory / preset.CARD).exists():
        raise InputError(f"--out {directory} already contains a run: choose another directory")
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
                f"--out {directory} contains an unfinished run: resume it with tfgen-train "
                f"--resume --out {directory}, or choose another directory"
            )
        raise InputError(f"--out {directory} is not empty: choose another directory")
    return directory, made, lock


def _locked(directory):
    # The operating system releases the lock when the process ends, even if it is killed.
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


def _remove(directory, made, lock):
    for entry in directory.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    _release(directory, lock)
    for path in made:
        with contextlib.suppress(OSError):  # Another process has written to it.
            path.rmdir()
