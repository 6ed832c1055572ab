"""Pictures of a model: samples, reconstructions, interpolations and its latent space."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from PIL import Image

from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel

WIDTH_IN_PIXELS = 512
TEMPERATURES = (0.0, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)


def grid(images: ArrayLike, columns: int | None = None) -> Image.Image:
    """Images side by side on white, enlarged by a whole factor to a width of about 512 pixels.

    Shapes: uint8 `[N, H, W, C]`, C of 1 or 3, to a `PIL.Image`.

    Args:
        images: row by row.
        columns: images per row; by default the grid is as square as possible.

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


def samples(model: GenerativeModel, seed: int = 0, temperature: float = 1.0) -> Image.Image:
    """64 samples, by default at temperature 1."""
    return grid(model.sample(64, temperature, seed), columns=8)


def reconstructions(model: GenerativeModel, images: np.ndarray) -> Image.Image:
    """Up to four rows of images, each above the row of their reconstructions."""
    columns = min(8, len(images))
    rows = []
    for start in range(0, min(32, len(images) // columns * columns), columns):
        part = images[start : start + columns]
        rows += [part, np.asarray(model.reconstruct(part))]
    return grid(np.concatenate(rows), columns=columns)


def interpolations(model: GenerativeModel, images: np.ndarray) -> Image.Image:
    """Up to eight pairs of images, one row per pair, interpolated in latent space.

    A single image is interpolated with itself.
    """
    pairs = min(8, max(1, len(images) // 2))
    first, second = images[:pairs], images[-pairs:]
    return grid(np.concatenate(np.asarray(model.interpolate(first, second, steps=8))), columns=8)


def temperatures(
    model: GenerativeModel,
    values: Sequence[float] = TEMPERATURES,
    columns: int = 8,
    seed: int = 0,
) -> Image.Image:
    """Samples from the same noise, one row per temperature.

    Args:
        model: the model to sample from.
        values: the temperatures, from the top.
        columns: samples per row.
        seed: seed of the noise.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import pictures
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=4, hidden_units=[16])
    >>> pictures.temperatures(model, values=(0.5, 1.0), columns=4).size
    (518, 266)
    """
    rows = [model.sample(columns, temperature=value, seed=seed) for value in values]
    return grid(np.concatenate(rows), columns=columns)


def manifold(model: GenerativeModel, side: int = 20) -> Image.Image:
    """Images that a model with two latents decodes on a regular grid of quantiles of the prior.

    Equation: the image in row i and column j is decode(F^-1((j + 1/2) / side),
    F^-1((i + 1/2) / side)), with F^-1 the inverse cumulative distribution function of the standard
    normal, so that each image stands for the same probability of the prior.

    Args:
        model: a model with two latents.
        side: images per row and per column.

    Raises:
        InputError: the model has another number of latents.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (1312.6114), figure 4.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import pictures
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> pictures.manifold(model, side=4).size
    (518, 518)
    """
    if model.latent_dim != 2:
        raise InputError(f"a manifold needs a model with 2 latents, got {model.latent_dim}")
    quantiles = tf.math.ndtri((np.arange(side) + 0.5).astype("float32") / side).numpy()
    rows, columns = np.meshgrid(quantiles, quantiles, indexing="ij")
    latents = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    return grid(model.decode(latents), columns=side)


def of_model(
    model: GenerativeModel, images: np.ndarray, temperature: float = 1.0
) -> dict[str, Image.Image]:
    """The pictures of a run directory, by their names.

    An invertible model, which reconstructs every image exactly, has samples and interpolations
    only; and no interpolations if its `encode` refuses the images.

    Args:
        model: a model of any kind.
        images: images to reconstruct and to interpolate between.
        temperature: that of the samples.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import pictures
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> list(pictures.of_model(model, tfgen.data.load("digits").images("test")[:8]))
    ['samples', 'reconstructions', 'interpolation', 'temperatures', 'manifold']
    """
    made = {"samples": samples(model, temperature=temperature)}
    if not model.is_invertible:
        made["reconstructions"] = reconstructions(model, images)
    with contextlib.suppress(InputError):  # Latents of a poor flow may not give images back.
        made["interpolation"] = interpolations(model, images)
    if not model.is_invertible:
        made["temperatures"] = temperatures(model)
    if model.latent_dim == 2:
        made["manifold"] = manifold(model)
    return made
