"""The files of a folder of images, and the split and the class of each."""

from __future__ import annotations

import hashlib
import os
import stat
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
    """All regular files below a directory except hidden ones. Links are followed.

    Returns:
        For each file its path relative to `root`, and its status; and (path, reason) of each file
        or directory that cannot be read, or that is a pipe, a device or a socket.
    """
    files: dict[str, os.stat_result] = {}
    unreadable: list[tuple[str, str]] = []
    entered = set()  # stops at circular links
    remaining = [(root, "")]  # in reverse order; folders may be nested too deeply for recursion

    while remaining:
        path, name = remaining.pop()
        try:
            status = path.stat()
            if not stat.S_ISDIR(status.st_mode):
                if stat.S_ISREG(status.st_mode):
                    files[name] = status
                else:
                    unreadable.append((name, "not a regular file"))
                continue
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            below = sorted(os.listdir(path), reverse=True)
        except OSError as error:
            unreadable.append((name or ".", error.strerror or str(error)))
            continue
        prefix = f"{name}/" if name else ""
        remaining += [(path / one, f"{prefix}{one}") for one in below if not one.startswith(".")]
    return files, unreadable


def split_folders(root: Path) -> dict[str, str]:
    """The name of the folder of each split that has one, whether or not it holds images."""
    names = [entry.name for entry in os.scandir(root) if entry.is_dir()]
    return {
        _SPLIT_NAMES[name.lower()]: name for name in sorted(names) if name.lower() in _SPLIT_NAMES
    }


def split_by_folder(paths: list[str]) -> dict[str, list[str]] | None:
    """The splits given by folders named `train`, `test` and so on; None if there are none.

    Without a `test` folder, the validation images are the test images, as in the literature.

    Raises:
        InputError: there is a folder of test or validation images, but none of training images.
    """
    splits: dict[str, list[str]] = {}
    for path in paths:
        split = _SPLIT_NAMES.get(path.split("/")[0].lower()) if "/" in path else None
        if split:
            splits.setdefault(split, []).append(path)
    if splits and "train" not in splits:
        raise InputError(
            "there is a folder of test or validation images, but none named train: add it, or give "
            "the path of the images alone"
        )
    if len(splits) < 2:
        return None
    if "test" not in splits:
        splits["test"] = splits.pop("validation")
    return {split: _shuffled(paths) for split, paths in splits.items()}


def split_by_hash(paths: list[str]) -> dict[str, list[str]]:
    """One image in ten is a test image, by a hash of its path, so that new files move no image."""
    order = _shuffled(paths)
    test = [path for path in order if _hash(path) % 10 == 0]
    if not test and len(order) > 1:
        test = order[-1:]
    if len(test) == len(order):
        test = order[1:]
    in_test = set(test)
    splits = {"train": [path for path in order if path not in in_test], "test": test}
    return {split: paths for split, paths in splits.items() if paths}


def classes(splits: dict[str, list[str]], below_split_folder: bool) -> dict[str, str] | None:
    """The class of each path: the first folder below the root, or below the split's folder.

    Returns None if one of the images is not in such a folder.
    """
    depth = 1 if below_split_folder else 0
    parts = {path: path.split("/")[depth:] for paths in splits.values() for path in paths}
    if any(len(below) < 2 for below in parts.values()):
        return None
    return {path: below[0] for path, below in parts.items()}


def _hash(path: str) -> int:
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def _shuffled(paths: list[str]) -> list[str]:
    """The paths in an order independent of their names, so that any slice is a fair sample."""
    return sorted(paths, key=lambda path: (_hash(path), path))
