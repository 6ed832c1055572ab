"""Image files read with Pillow."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from tfgen.files import PathLike, open_regular

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"}
_ORIENTATION = (
    0x0112  # EXIF tag of the camera's orientation; values 5 to 8 exchange height and width
)
_MAX_PIXELS = 89_478_485  # of an image, and of all images that are decoded at a time
_MAX_BYTES = 2**28  # of a file
_BAND = 2**22  # pixels converted at a time


class UnreadableImageError(Exception):
    """The file is not an image, is damaged, or has pixels of unknown range."""


class Decoded(NamedTuple):
    """An image file that was decoded.

    Attributes:
        image: uint8 `[H, W, C]`, fitted to the shape that was asked for.
        size: (H, W) of the upright image in the file.
        sha256: hexadecimal digest of the file.
    """

    image: np.ndarray
    size: tuple[int, int]
    sha256: str


def decoded(path: PathLike, image_shape: Sequence[int]) -> Decoded:
    """Reads and decodes an image file, see `pixels`.

    Several threads may call it: together they decode at most as many pixels at a time as the
    largest image may have.

    Args:
        path: path of the file.
        image_shape: (H, W, C), C = 1 or 3.

    Raises:
        UnreadableImageError: it cannot be read or decoded.
    """
    height, width, _ = header(path)
    with _budget.of(height * width):
        content = read(path)
        found = header(io.BytesIO(content))[:2]
        if found != (height, width):
            raise UnreadableImageError("it changed while it was read")
        image = pixels(content, image_shape)
    return Decoded(image, found, hashlib.sha256(content).hexdigest())


def header(file: PathLike | BinaryIO) -> tuple[int, int, int]:
    """Height and width of the upright image, and channels (1 grey, 3 colour), without decoding.

    Raises:
        UnreadableImageError: not an image of a known format, not a regular file, or too large.
    """
    if isinstance(file, str | os.PathLike):
        with _regular(file) as content:
            return header(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused by `_opened`
        opened = _opened(file)
    with opened as image:
        width, height = image.size
        try:
            rotated = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        except Exception as error:
            raise UnreadableImageError(f"broken EXIF data: {_first_line(error)}") from None
        channels = 1 if image.mode in _GREY_MODES else 3
    return (width, height, channels) if rotated else (height, width, channels)


def read(path: PathLike) -> bytes:
    """The content of a file of at most 256 MiB.

    Raises:
        UnreadableImageError: it cannot be read, is not a regular file, or is too large.
    """
    with _regular(path) as file:
        try:
            content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error)) from None
    if len(content) > _MAX_BYTES:
        raise UnreadableImageError(f"the file has more than {_MAX_BYTES:,} bytes")
    return content


def _regular(path):
    try:
        return open_regular(path)
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from None


def pixels(content: bytes, image_shape: Sequence[int]) -> np.ndarray:
    """Decodes an image file, rotates it upright and fits it: bytes -> uint8 [H, W, C].

    The shorter side is resized (bicubic, antialiased), the longer one cropped around the centre.
    Transparent pixels show a white background; 16-bit grey becomes 8-bit by dividing by 257; colour
    becomes grey with the luma weights of ITU-R 601.

    Args:
        content: content of the file; the first picture of an animation or a stack is used.
        image_shape: (H, W, C), C = 1 or 3.

    Raises:
        UnreadableImageError: the file is damaged, too large, or has float or 32-bit pixels.
    """
    height, width, channels = image_shape
    with _opened(io.BytesIO(content)) as image:
        try:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            plain = _eight_bit(image, "L" if channels == 1 else "RGB")
            if plain.size != (width, height):
                plain = ImageOps.fit(plain, (width, height), method=Image.Resampling.BICUBIC)
        except UnreadableImageError:
            raise
        except Exception as error:  # Pillow's decoders raise many types on damaged files
            raise UnreadableImageError(_first_line(error)) from None
    return np.asarray(plain, np.uint8).reshape(image_shape)


def _opened(file: BinaryIO) -> Image.Image:
    try:
        image = Image.open(file, formats=_FORMATS)
    except Image.UnidentifiedImageError:
        raise UnreadableImageError("not an image of a known format") from None
    except Exception as error:
        raise UnreadableImageError(_first_line(error)) from None
    width, height = image.size
    if width * height > _MAX_PIXELS:
        image.close()
        raise UnreadableImageError(f"{width}x{height} pixels are more than {_MAX_PIXELS:,}")
    return image


def _eight_bit(image: Image.Image, mode: str) -> Image.Image:
    """The image in the mode "L" or "RGB", converted band by band, which bounds the memory."""
    if image.mode == mode and not image.has_transparency_data:
        return image
    width, height = image.size
    rows = max(1, _BAND // width)
    if rows >= height:
        return _converted(image, mode)
    plain = Image.new(mode, image.size)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        plain.paste(_converted(band, mode), (0, top))
    return plain


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImageError("the range of floating-point pixels is unknown")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableImageError("the range of 32-bit pixels is unknown")
        grey = Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
        return grey.convert(mode)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert(mode)


class _Budget:
    """The pixels that are decoded at a time, by all threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._used = 0

    @contextlib.contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Within the context, these pixels are in use; waits for other threads if needed."""
        with self._changed:
            self._changed.wait_for(lambda: self._used + pixels <= _MAX_PIXELS or not self._used)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


_budget = _Budget()


def _first_line(error: Exception) -> str:
    """The first line of an exception's message, or its type."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
