"""Image files read with Pillow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from tfgen.files import PathLike

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"}
_ORIENTATION = (
    0x0112  # EXIF tag of the camera's orientation; values 5 to 8 exchange height and width
)
_MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MB of RGB


class UnreadableImageError(Exception):
    """The file is not an image, is damaged, or has pixels of unknown range."""


def header(file: str | Path | BinaryIO) -> tuple[int, int, int]:
    """Height and width of the upright image, and channels (1 grey, 3 colour), without decoding.

    Raises:
        UnreadableImageError: not an image of a known format, or too large.
    """
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
    """The content of a file.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
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
            upright = ImageOps.exif_transpose(image)
            plain = _eight_bit(upright).convert("L" if channels == 1 else "RGB")
            if plain.size != (width, height):
                plain = ImageOps.fit(plain, (width, height), method=Image.Resampling.BICUBIC)
        except UnreadableImageError:
            raise
        except Exception as error:  # Pillow's decoders raise many types on damaged files
            raise UnreadableImageError(_first_line(error)) from None
    return np.asarray(plain, np.uint8).reshape(image_shape)


def _opened(file: str | Path | BinaryIO) -> Image.Image:
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


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in a mode with 8 bits per channel, without palette or transparency."""
    if image.mode == "F":
        raise UnreadableImageError("the range of floating-point pixels is unknown")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableImageError("the range of 32-bit pixels is unknown")
        return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), overlay).convert("RGB")
    return image


def _first_line(error: Exception) -> str:
    """The first line of an exception's message, or its type."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
