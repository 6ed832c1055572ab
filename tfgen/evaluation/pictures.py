"""The pictures of a run: samples, reconstructions, interpolations."""

import math

import numpy as np
from PIL import Image

WIDTH_IN_PIXELS = 512


def grid(images, columns=None):
    """Images side by side on a white ground, enlarged in whole steps to some 500 pixels' width.

    Shapes: uint8 `[N, H, W, C]`, C of 1 or 3, to a `PIL.Image`.

    Args:
        images: in reading order.
        columns: images in a row; by default the grid is as square as can be.

    Example:

    >>> import numpy as np
    >>> from tfgen.evaluation import pictures
    >>> pictures.grid(np.zeros((6, 8, 8, 1), "uint8"), columns=3).size
    (532, 361)
    """
    images = np.asarray(images)
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    zoom = max(1, round(WIDTH_IN_PIXELS / (columns * (width + 1))))
    images = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    gap = zoom
    cell_height, cell_width = height * zoom + gap, width * zoom + gap
    canvas = np.full((rows * cell_height + gap, columns * cell_width + gap, channels), 255, "uint8")
    for index, image in enumerate(images):
        top, left = (index // columns) * cell_height + gap, (index % columns) * cell_width + gap
        canvas[top : top + height * zoom, left : left + width * zoom] = image
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def samples(model, seed=0):
    """64 samples at temperature 1."""
    return grid(model.sample(64, seed=seed), columns=8)


def reconstructions(model, images):
    """Up to four rows of images, each above the row of their reconstructions."""
    columns = min(8, len(images))
    rows = []
    for start in range(0, min(32, len(images) // columns * columns), columns):
        part = images[start : start + columns]
        rows += [part, np.asarray(model.reconstruct(part))]
    return grid(np.concatenate(rows), columns=columns)


def interpolation(model, images):
    """Up to eight pairs of images, a row each, with the images between them in latent space.

    An image without a second is interpolated with itself.
    """
    pairs = min(8, max(1, len(images) // 2))
    first, second = images[:pairs], images[-pairs:]
    return grid(np.concatenate(np.asarray(model.interpolate(first, second, steps=8))), columns=8)
