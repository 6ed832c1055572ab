"""The images that a caller gives to the client: arrays, or files as `tfgen score` reads them."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tfgen.data.formats import pillow_images
from tfgen.errors import InputError

Images: TypeAlias = npt.ArrayLike | os.PathLike[str] | Sequence[os.PathLike[str]]


def to_array(images: Images, image_shape: Sequence[int] | None) -> np.ndarray:
    """Images as uint8 `[N, H, W, C]`; a single one is a batch of one.

    A file is fitted to the model's shape as `tfgen score` fits it, with a warning if it has another
    size, because resizing changes the likelihood. Arrays must have the model's shape.

    Args:
        images: uint8 `[H, W, C]` or `[N, H, W, C]`; the path of an image file, or its content as
            bytes; a list of any of these for one image each.
        image_shape: (H, W, C) of the model; None if it is not known, for arrays only.

    Raises:
        InputError: the images have the wrong shape or dtype, or a file does not exist or is not an
            image.

    Example:

    >>> import numpy as np
    >>> from tfgen.export.client import images
    >>> images.to_array(np.zeros((8, 8, 1), "uint8"), (8, 8, 1)).shape
    (1, 8, 8, 1)
    """
    items: Any = images
    if isinstance(images, np.ndarray) and images.dtype.kind in "SUO":
        items = images.ravel().tolist()
    elif _is_file(images):
        items = [images]
    if isinstance(items, Sequence):
        if any(map(_is_file, items)):
            return _read(items, image_shape)
        if any(hasattr(image, "shape") for image in items):
            named = [(f"image {i} of the list", image) for i, image in enumerate(items)]
            return np.stack([_checked(np.asarray(im), image_shape, n, 3) for n, im in named])
    try:
        array = np.asarray(images)
    except ValueError:
        raise InputError(f"images differ in shape: {_wanted(image_shape)}") from None
    array = _checked(array, image_shape, "images", 3, 4)
    return array[None] if array.ndim == 3 else array


def _read(images, image_shape):
    if image_shape is None or image_shape[-1] not in (1, 3) or min(image_shape) < 1:
        raise InputError("the model does not take grey or RGB images, which files contain")
    arrays, resized = [], []
    for i, image in enumerate(images):
        if not _is_file(image):
            arrays.append(_checked(np.asarray(image), image_shape, f"image {i} of the list", 3))
            continue
        name = f"file {i} of the list" if isinstance(image, (bytes, bytearray)) else image
        try:
            content = image if name is not image else pillow_images.read(image)
            arrays.append(pillow_images.pixels(content, image_shape))
            if pillow_images.header(io.BytesIO(content))[:2] != tuple(image_shape[:2]):
                resized.append(name)
        except (pillow_images.UnreadableImageError, ValueError) as error:
            raise InputError(f"{name}: {error}; {_wanted(image_shape)}") from None
    if resized:
        warnings.warn(
            f"{len(resized)} of {len(images)} images, such as {resized[0]}, were resized to "
            f"{image_shape[0]}x{image_shape[1]}, which changes their likelihood",
            stacklevel=5,
        )
    return np.stack(arrays)


def _checked(array: np.ndarray, image_shape: Any, name: str, *ranks: int) -> np.ndarray:
    fits = image_shape is None or all(
        size in (-1, expected) or expected == -1
        for size, expected in zip(array.shape[-3:], image_shape, strict=False)
    )
    if array.dtype != np.uint8 or array.ndim not in ranks or not fits:
        raise InputError(f"{name}: {_wanted(image_shape)}, got {array.dtype} {list(array.shape)}")
    return array


def _wanted(image_shape):
    sizes = "H, W, C" if image_shape is None else ", ".join(map(str, image_shape))
    return f"an image must be a file or uint8 [{sizes}], a batch uint8 [N, {sizes}]"


def _is_file(image):
    return isinstance(image, (str, bytes, bytearray, os.PathLike))
