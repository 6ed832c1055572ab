"""Check that a model computes the same on this machine as where its card was written.

The card of a pretrained model has an entry `check`: the mean bits/dim of the first images of its
test split, and `golden.png`, the images that it decodes from fixed noise. Each has a tolerance,
because float32 sums are rounded differently on different processors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel

NUM_IMAGES = 256
NUM_SAMPLES = 8
GOLDEN = "golden.png"
SEED = 20180709


def entry(model: GenerativeModel, images: np.ndarray) -> dict[str, Any]:
    """The entry `check` of a card.

    Args:
        model: the model as published.
        images: the first `NUM_IMAGES` images of the test split, uint8 `[N, H, W, C]`.
    """
    return {
        "images": len(images),
        "bits_per_dim": round(_bits_per_dim(model, images), 6),
        "relative_tolerance": 1e-4,
        "samples": NUM_SAMPLES,
        "seed": SEED,
        "tolerance_in_levels": 0.05,
    }


def golden(model: GenerativeModel) -> np.ndarray:
    """Images decoded from fixed noise: uint8 `[NUM_SAMPLES, H, W, C]`.

    The noise is NumPy's, the same on every machine and in every version of TensorFlow, at
    temperature 0.7. A class-conditional model decodes each class in turn.
    """
    noise = np.random.RandomState(SEED).normal(0.0, 0.7, (NUM_SAMPLES, model.latent_dim))
    return np.asarray(model.decode(model.latents_from_noise(noise.astype("float32"))))


def write_golden(model: GenerativeModel, directory: Path) -> None:
    """Write `golden` to `golden.png`, in one column."""
    images = golden(model)
    column = images.reshape(-1, *images.shape[2:])
    Image.fromarray(column[..., 0] if column.shape[-1] == 1 else column).save(directory / GOLDEN)


def read_golden(directory: Path, image_shape: tuple[int, ...]) -> np.ndarray:
    """The images that `write_golden` wrote."""
    with Image.open(directory / GOLDEN) as picture:
        return np.asarray(picture).reshape(-1, *image_shape)


def check(
    model: GenerativeModel,
    directory: Path,
    card: Mapping[str, Any],
    images: np.ndarray | None = None,
) -> None:
    """Compare a model with its card.

    Args:
        model: loaded from `directory`.
        directory: the directory of the model.
        card: the card of the model.
        images: the first `card["check"]["images"]` test images; None to compare samples only.

    Raises:
        InputError: the likelihood or the samples differ from the card's; the message states
            the difference.

    Example:

    >>> import tfgen
    >>> from tfgen.zoo import checking
    >>> card, images = tfgen.zoo.card("vae-digits"), tfgen.data.load("digits").images("test")
    >>> model, directory = tfgen.zoo.load("vae-digits"), tfgen.zoo.directory("vae-digits")
    >>> checking.check(model, directory, card, images[: card["check"]["images"]])
    """
    expected = card["check"]
    difference = golden(model).astype("float32") - read_golden(directory, model.image_shape)
    levels = float(np.abs(difference).mean())
    if levels > expected["tolerance_in_levels"]:
        raise InputError(
            f"{card['name']}: its samples differ from {GOLDEN} by {levels:.3f} levels on average, "
            f"more than {expected['tolerance_in_levels']}"
        )
    if images is None:
        return
    if len(images) != expected["images"]:
        raise InputError(f"check: needs {expected['images']} images, got {len(images)}")
    bits = _bits_per_dim(model, images)
    if not abs(bits / expected["bits_per_dim"] - 1) <= expected["relative_tolerance"]:  # Or NaN.
        raise InputError(
            f"{card['name']}: {bits:.6f} bits/dim of {len(images)} test images, but its card says "
            f"{expected['bits_per_dim']:.6f}"
        )


def _bits_per_dim(model, images):
    return float(np.mean(model.bits_per_dim(images, num_samples=model.num_evaluation_samples)))
