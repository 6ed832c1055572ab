"""The files of a folder of images: which there are, and which split and class each belongs to."""

import hashlib
import os
from pathlib import Path

from tfgen.errors import InputError

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def scan(root: Path) -> tuple[dict[str, os.stat_result], list[tuple[str, str]]]:
    """All files below a folder, hidden ones apart: relative path -> status, and what is unreadable.

    Links are followed, no folder is entered twice.
    """
    files, unreadable, entered = {}, [], set()

    def enter(folder: Path):
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                return
            entered.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            unreadable.append((_relative(folder), error.strerror or str(error)))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            try:
                if entry.is_dir():
                    enter(path)
                else:
                    files[_relative(path)] = entry.stat()
            except OSError as error:
                unreadable.append((_relative(path), error.strerror or str(error)))

    def _relative(path: Path) -> str:
        return path.relative_to(root).as_posix()

    enter(root)
    return files, unreadable


def split_by_folder(paths: list[str]) -> dict[str, list[str]] | None:
    """Splits after `train` and the other split folders; None: there are no such folders.

    Without a `test` folder, the validation images are the test images, as the literature does.

    Raises:
        InputError: folders for testing without one for training, whose images nobody would want to
            be trained on.
    """
    splits: dict[str, list[str]] = {}
    for path in paths:
        split = _SPLIT_NAMES.get(path.split("/")[0].lower()) if "/" in path else None
        splits.setdefault(split, []).append(path)
    if "train" not in splits and splits.keys() & {"test", "validation"}:
        raise InputError(
            "there is a folder of test or validation images and none named train: add that, or "
            "give the folder of the images alone"
        )
    if "train" not in splits or len(splits) < 2 or splits.keys() == {"train", None}:
        return None
    if "test" not in splits:
        splits["test"] = splits.pop("validation")
    return {split: _shuffled(splits[split]) for split in splits if split is not None}


def split_by_hash(paths: list[str]) -> dict[str, list[str]]:
    """One image in ten is a test image, by a hash of its path: more files move none."""
    order = _shuffled(paths)
    test = [path for path in order if _hash(path) % 10 == 0]
    if not test and len(order) > 1:
        test = order[-1:]
    if len(test) == len(order):
        test = order[1:]
    held = set(test)
    splits = {"train": [path for path in order if path not in held], "test": test}
    return {split: paths for split, paths in splits.items() if paths}


def classes(splits: dict[str, list[str]], below_split_folder: bool) -> dict[str, str] | None:
    """Path -> name of the first folder below the root (or the split's); None: some lie in none."""
    depth = 1 if below_split_folder else 0
    parts = {path: path.split("/")[depth:] for paths in splits.values() for path in paths}
    if any(len(below) < 2 for below in parts.values()):
        return None
    return {path: below[0] for path, below in parts.items()}


def _hash(path: str) -> int:
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def _shuffled(paths: list[str]) -> list[str]:
    """In an order that has nothing to do with names, so that any piece is a fair sample."""
    return sorted(paths, key=lambda path: (_hash(path), path))
