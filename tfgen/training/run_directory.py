"""The directory of a run while it is being made: claimed by one process, taken away if it fails."""

import contextlib
import shutil
from pathlib import Path

from tfgen.errors import InputError
from tfgen.models import preset

CLAIM = ".training"


@contextlib.contextmanager
def claimed(out, name):
    """A new or empty directory that no other run writes into; nothing is left of it after an error.

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
    directory, made = _claim_next(name) if out is None else _claim(Path(out))
    try:
        yield directory
        (directory / CLAIM).unlink()
    except BaseException:
        _take_away(directory, made)
        raise


def _claim_next(name):
    number = 1
    while True:
        directory = Path("runs") / f"{name}-{number:03}"
        if not directory.exists():
            with contextlib.suppress(InputError):  # Another run was faster: the next number.
                return _claim(directory)
        number += 1


def _claim(directory):
    """The directory, and which of it and its parents were made for it, innermost first."""
    if (directory / preset.CARD).exists():
        raise InputError(f"--out {directory} already holds a run: choose another directory")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--out {directory} is a file: choose a directory")
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        (directory / CLAIM).touch(exist_ok=False)
    except FileExistsError:
        raise InputError(
            f"--out {directory} is being written by another run: choose another directory, or "
            f"delete {directory / CLAIM} if there is none"
        ) from None
    if any(path.name != CLAIM for path in directory.iterdir()):
        (directory / CLAIM).unlink()
        raise InputError(f"--out {directory} is not empty: choose another directory")
    return directory, made


def _take_away(directory, made):
    for entry in directory.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for path in made:
        with contextlib.suppress(OSError):  # Somebody else has put something into it.
            path.rmdir()
