"""`shapes`: coloured shapes on a grey ground, drawn from independent known factors."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from tfgen import checks
from tfgen.data import storage
from tfgen.data.dataset import Dataset

SHAPES = ("circle", "square", "triangle", "cross", "ring")
FACTORS = ("shape", "hue", "size", "x", "y", "background")

# No training set is this large, so the test images do not depend on the number of training images.
_FIRST_TEST_INDEX = 2**32
_SIZES = (0.1, 0.21)  # radius as a fraction of the side
_CENTRES = (0.25, 0.75)  # the largest shape fits at any of them: position is independent of size
_GREYS = (0.0, 0.4)
_BLOCK = 256


def load(name: str, **options: int) -> Dataset:
    """Opens `shapes`; image i depends only on (seed, i), and its labels are its factors.

    Args:
        name: `shapes`.
        options: `num_images`, `num_test_images`, `seed`, and `size`, the side in pixels.

    Raises:
        InputError: an option is not an integer, or too small.
    """
    least = {"num_images": 1, "num_test_images": 1, "seed": 0, "size": 8}
    options = {
        key: checks.integer(f"{name}: {key}", value, least[key]) for key, value in options.items()
    }
    return storage.stored(name, options, lambda: _content(**options), options=options)


def _content(num_images: int, num_test_images: int, seed: int, size: int) -> storage.Content:
    return storage.Content(
        image_shape=(size, size, 3),
        labels={"shape": SHAPES, **dict.fromkeys(FACTORS[1:], np.float32)},
        splits={
            "train": _examples(0, num_images, seed, size),
            "test": _examples(_FIRST_TEST_INDEX, num_test_images, seed, size),
        },
        metadata={
            "source": "drawn by tfgen",
            "split": "train: indices from 0; test: indices from 2**32",
        },
    )


def _examples(first: int, count: int, seed: int, size: int) -> storage.Examples:
    for start in range(first, first + count, _BLOCK):
        indices = range(start, min(start + _BLOCK, first + count))
        factors = draw_factors(seed, indices)
        for position, image in enumerate(render(factors, size)):
            yield image, {factor: factors[factor][position] for factor in FACTORS}


def draw_factors(seed: int, indices: Iterable[int]) -> dict[str, np.ndarray]:
    """Independent uniform factors; those of index i depend on (seed, i) alone.

    Returns:
        dict of arrays [N]: `shape` (index into `SHAPES`), `hue` in [0, 1) (0 red, 1/3 green,
        2/3 blue), `size` (circumscribed radius), `x` and `y` (centre, from the top left), all
        three in units of the image's side, and the grey level `background` in [0, 1].
    """
    uniform = np.stack([np.random.default_rng([seed, i]).random(len(FACTORS)) for i in indices])
    shape, hue, size, x, y, background = uniform.T

    def between(low_high, u):
        low, high = low_high
        return (low + (high - low) * u).astype(np.float32)

    return {
        "shape": (shape * len(SHAPES)).astype(np.int64),
        "hue": hue.astype(np.float32),
        "size": between(_SIZES, size),
        "x": between(_CENTRES, x),
        "y": between(_CENTRES, y),
        "background": between(_GREYS, background),
    }


def render(factors: Mapping[str, ArrayLike], size: int = 32) -> np.ndarray:
    """Draws images from their factors: dict of arrays [N] -> uint8 [N, size, size, 3].

    A pixel's share of the shape's colour is its distance inside the outline, in pixels, plus a
    half, clipped to [0, 1], which gives antialiased edges one pixel wide. Only additions, products
    and square roots are used, so every machine draws the same bytes.

    Args:
        factors: as `draw_factors` gives them.
        size: side of the square images, in pixels.

    Example:

    >>> import numpy as np
    >>> from tfgen.data.sources.shapes import render
    >>> factors = dict(shape=0, hue=0.0, size=0.25, x=0.5, y=0.5, background=0.0)
    >>> image = render({key: np.array([value]) for key, value in factors.items()})
    >>> image.shape, image[0, 16, 16].tolist(), image[0, 0, 0].tolist()
    ((1, 32, 32, 3), [255, 0, 0], [0, 0, 0])
    """
    number, hue, radius, x, y, background = (
        np.asarray(factors[factor], np.float64)[:, None, None] for factor in FACTORS
    )
    centres = (np.arange(size) + 0.5) / size
    across, down = centres[None, None, :] - x, centres[None, :, None] - y
    outside = np.select(
        [number == index for index in range(len(SHAPES))],
        [_DISTANCES[shape](across, down, radius) for shape in SHAPES],
    )
    coverage = np.clip(0.5 - outside * size, 0, 1)[..., None]
    colour = np.clip(np.abs((hue[..., None] + _HUE_PHASES) % 1 * 6 - 3) - 1, 0, 1)
    image = background[..., None] + coverage * (colour - background[..., None])
    return np.floor(255 * image + 0.5).astype(np.uint8)


_HUE_PHASES = np.array([0, 2 / 3, 1 / 3])


def _circle(across, down, radius):
    return np.sqrt(across**2 + down**2) - radius


def _square(across, down, radius):
    return np.maximum(np.abs(across), np.abs(down)) - radius * np.sqrt(0.5)


def _triangle(across, down, radius):
    """Equilateral, point up, its centre of mass at the centre."""
    slanted = np.sqrt(0.75) * np.abs(across) - 0.5 * down
    return np.maximum(slanted, down) - 0.5 * radius


def _cross(across, down, radius):
    """Two bars, each three times as long as wide, with their corners on the circle."""
    wide, tall = np.abs(across), np.abs(down)
    length, width = radius * 3 / np.sqrt(10), radius / np.sqrt(10)
    return np.minimum(
        np.maximum(wide - length, tall - width), np.maximum(wide - width, tall - length)
    )


def _ring(across, down, radius):
    return np.abs(_circle(across, down, 0.75 * radius)) - 0.25 * radius


_DISTANCES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
}
