"""Image files that are not part of a data set, fitted to a model's image shape."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfgen.data.formats import folder_files, pillow_images
from tfgen.errors import InputError
from tfgen.files import PathLike, expanded


class FolderBatch(NamedTuple):
    """Some images of a folder.

    Attributes:
        paths: paths of the images, relative to the folder.
        images: uint8 `[N, H, W, C]`; None if no file of the batch could be read.
        resized: the paths of the images that had another height or width.
        unreadable: (path, reason) of each file that is not an image.
    """

    paths: list[str]
    images: np.ndarray | None
    resized: list[str]
    unreadable: list[tuple[str, str]]


def read_folder(
    folder: PathLike, image_shape: Sequence[int], batch_size: int
) -> Iterator[FolderBatch]:
    """The images in a folder and its subfolders except hidden ones, in the order of their paths.

    Args:
        folder: path of the folder.
        image_shape: (H, W, C) that the images are resized and cropped to.
        batch_size: number of files per batch.

    Raises:
        InputError: it is not a directory.
    """
    root = expanded(folder)
    if not root.is_dir():
        raise InputError(f"{folder} is not a directory; give a folder of images")
    files, unreadable = folder_files.scan(root)
    if unreadable:
        yield FolderBatch([], None, [], unreadable)
    paths = sorted(files)
    for start in range(0, len(paths), batch_size):
        batch = FolderBatch([], None, [], [])
        images = []
        for path in paths[start : start + batch_size]:
            try:
                found = pillow_images.decoded(root / path, image_shape)
                images.append(found.image)
                batch.paths.append(path)
                if found.size != tuple(image_shape[:2]):
                    batch.resized.append(path)
            except pillow_images.UnreadableImageError as error:
                batch.unreadable.append((path, str(error)))
        yield batch._replace(images=np.stack(images)) if images else batch


def read_files(files: Iterable[PathLike], image_shape: Sequence[int]) -> np.ndarray:
    """Image files as uint8 `[N, H, W, C]`, resized and cropped to a shape.

    Raises:
        InputError: a file is missing or not an image.
    """
    images = []
    for file in files:
        try:
            images.append(pillow_images.decoded(file, image_shape).image)
        except pillow_images.UnreadableImageError as error:
            raise InputError(f"{file}: {error}") from None
    return np.stack(images)
