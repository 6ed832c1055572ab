"""A folder of images as a data set: resized and cropped once, unreadable files listed."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tfgen.data import storage
from tfgen.data.dataset import Dataset
from tfgen.data.formats import folder_files, pillow_images
from tfgen.errors import InputError
from tfgen.files import PathLike, expanded

_CHUNK = 256  # files decoded at a time
_LARGE = 2**21  # pixels from which images are decoded one after the other
_log = logging.getLogger(__name__)


def load(folder: PathLike, image_shape: Sequence[int] | None = None) -> Dataset:
    """Opens a folder of images; it is read again when a file has been added, removed or changed.

    Args:
        folder: path of the folder.
        image_shape: (H, W, C) to fit the images to; None if all images have the same shape.

    Raises:
        InputError: no such directory, no readable image in it (or in one of its splits), or images
            of several shapes and no `image_shape`.
    """
    root = expanded(folder).absolute()
    if not root.is_dir():
        reason = "is a file, not a folder of images" if root.exists() else "does not exist"
        raise InputError(f"{root} {reason}; give the path of a folder of images")
    files, unreadable = folder_files.scan(root)
    named = folder_files.split_folders(root)
    states = [[path, state.st_size, state.st_mtime_ns] for path, state in files.items()]
    dataset = storage.stored(
        "image_folder",
        [str(root.resolve()), image_shape, states, unreadable, named],
        lambda: _content(root, image_shape, files, unreadable, named),
        name=root.resolve().name,
        options={"image_shape": image_shape},
    )
    if dataset.unreadable:
        count, listed = len(dataset.unreadable), _listed(dataset.unreadable)
        _log.warning("%s: %d files cannot be used: %s", root, count, listed)
    return dataset


def _content(
    root: Path,
    image_shape: Sequence[int] | None,
    files: dict[str, os.stat_result],
    unreadable: list[tuple[str, str]],
    named: dict[str, str],
) -> storage.Content:
    unreadable = list(unreadable)
    shapes = {}
    for path in files:
        try:
            shapes[path] = pillow_images.header(root / path)
        except pillow_images.UnreadableImageError as error:
            unreadable.append((path, str(error)))
    if not shapes:
        raise _nothing_readable(root, unreadable)
    by_folder = folder_files.split_by_folder(list(shapes))
    empty = [folder for folder in named.values() if not _holds_one_of(folder, shapes)]
    if empty and len(named) > 1:  # Otherwise images of another split would take their place.
        raise _nothing_readable(root / empty[0], unreadable)
    splits = by_folder or folder_files.split_by_hash(list(shapes))
    used = {path: shapes[path] for paths in splits.values() for path in paths}
    unreadable += [(path, "not in the folder of a split") for path in sorted(shapes - used.keys())]
    shape = tuple(image_shape or _common_shape(root, used))
    classes = folder_files.classes(splits, below_split_folder=by_folder is not None)
    metadata: dict[str, Any] = {
        "source": f"folder of images {root.name}",
        "split": "by folder" if by_folder else "one in ten is a test image, by SHA-256 of its path",
        "unreadable": unreadable,
    }
    digests: dict[str, str] = {}

    def examples(split: str, paths: list[str]) -> Iterator:
        before = len(digests)
        for path, (image, outcome) in _decoded(root, paths, shape, shapes):
            if image is None:
                unreadable.append((path, outcome))
            else:
                digests[path] = outcome
                yield image, {"label": classes[path]} if classes else {}
        if len(digests) == before:
            raise _nothing_readable(root, unreadable, f" for {split}")
        listed = json.dumps(sorted(digests.items())).encode()
        digest = hashlib.sha256(listed).hexdigest()
        metadata["files"] = {"count": len(digests), "sha256": digest}

    return storage.Content(
        image_shape=shape,
        labels={"label": sorted(set(classes.values()))} if classes else {},
        splits={split: examples(split, paths) for split, paths in splits.items()},
        metadata=metadata,
    )


def _holds_one_of(folder: str, paths: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for path in paths)


def _decoded(root, paths, shape, shapes) -> Iterator:
    """Each path with its image and its file's SHA-256, or with None and the reason."""

    def read(path):
        try:
            found = pillow_images.decoded(root / path, shape)
        except pillow_images.UnreadableImageError as error:
            return None, str(error)
        return found.image, found.sha256

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            # The allocator keeps the memory of large images for each thread that freed it.
            small = [path for path in chunk if shapes[path][0] * shapes[path][1] < _LARGE]
            found = {path: pool.submit(read, path) for path in small}
            for path in chunk:
                yield path, found[path].result() if path in found else read(path)


def _common_shape(root: Path, shapes: dict[str, tuple[int, int, int]]) -> tuple[int, int, int]:
    channels = max(shape[2] for shape in shapes.values())
    by_size = {shape[:2]: path for path, shape in sorted(shapes.items(), reverse=True)}
    if len(by_size) > 1:
        (one, first), (other, second) = list(by_size.items())[:2]
        raise InputError(
            f"the images in {root} have {len(by_size)} sizes, such as {one[0]}x{one[1]} ({first}) "
            f"and {other[0]}x{other[1]} ({second}); give the image_shape (H, W, C) to fit them to, "
            "in a recipe with data.image_shape"
        )
    return (*next(iter(by_size)), channels)


def _nothing_readable(root: Path, unreadable: list[tuple[str, str]], where: str = "") -> InputError:
    reasons = f" ({_listed(unreadable)})" if unreadable else ""
    return InputError(
        f"{root} holds no readable image{where}{reasons}; give a folder with PNG, JPEG, BMP, GIF, "
        "WebP or TIFF files"
    )


def _listed(unreadable: list[tuple[str, str]], most: int = 5) -> str:
    named = [f"{path}: {reason}" for path, reason in unreadable[:most]]
    more = [f"and {len(unreadable) - most} more"] if len(unreadable) > most else []
    return ", ".join(named + more)
