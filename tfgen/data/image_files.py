"""Image files outside of a data set, fitted to a model's image shape."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfgen.data.formats import folder_files, pillow_images
from tfgen.errors import InputError
from tfgen.files import PathLike, expanded


class FolderBatch(NamedTuple):
    """Some images of a folder.

    Attributes:
        paths: of the images, relative to the folder.
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
    """The images in a folder and its subfolders, in the order of their paths; hidden files apart.

    Args:
        folder: its path.
        image_shape: (H, W, C) that the images are resized and cropped to.
        batch_size: number of files per batch.

    Raises:
        InputError: it is not a directory.
    """
    height, width, channels = image_shape
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
                content = (root / path).read_bytes()
                images.append(pillow_images.pixels(content, (height, width, channels)))
                batch.paths.append(path)
                if pillow_images.header(io.BytesIO(content))[:2] != (height, width):
                    batch.resized.append(path)
            except (pillow_images.UnreadableImageError, OSError) as error:
                batch.unreadable.append((path, _reason(error)))
        yield batch._replace(images=np.stack(images)) if images else batch


def read_files(files: Iterable[PathLike], image_shape: Sequence[int]) -> np.ndarray:
    """Image files as uint8 `[N, H, W, C]`, resized and cropped to a shape.

    Raises:
        InputError: a file is missing or not an image.
    """
    height, width, channels = image_shape
    images = []
    for file in files:
        try:
            content = Path(file).read_bytes()
            images.append(pillow_images.pixels(content, (height, width, channels)))
        except (pillow_images.UnreadableImageError, OSError) as error:
            raise InputError(f"{file}: {_reason(error)}") from None
    return np.stack(images)


def _reason(error):
    return getattr(error, "strerror", None) or str(error)
