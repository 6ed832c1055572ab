"""The weights that a model gets at the end of training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfgen.errors import InputError
from tfgen.optimizers import averaged_weights
from tfgen.optimizers.averaging import averaging
from tfgen.training import state
from tfgen.training.checkpoint import DamagedError
from tfgen.training.loop import Loop
from tfgen.training.setup import Setup

MOST_IMAGES = 1000  # on which averages and last weights are compared
TRAINING_MARGIN = 0.01  # of the bits/dim: training images favour the last weights


def take(setup: Setup, loop: Loop) -> dict[str, Any]:
    """Give the model its final weights.

    `training.weights=best` gives those with the best validation, `last` those of the last step; if
    the optimizer keeps averages, the averages are meant in both cases. Averages that measure worse
    than the weights of the last step are not used: the two are compared on up to 1,000 validation
    images or, without any, on as many training images, where averages count as worse if they need
    1 % more bits/dim.

    Args:
        setup: the objects of the recipe.
        loop: the loop that has trained the model.

    Returns:
        For the card: `used` ("last", "averaged" or "best"); with averages also the bits/dim of
        both, and the images on which they were measured.

    Raises:
        InputError: the best weights cannot be read.
    """
    model = setup.model
    wanted = "last"
    arrays: dict[str, np.ndarray] | None = None
    if setup.recipe.training.weights == "best" and loop.best is not None:
        wanted, arrays = "best", _best(loop)
    elif averaging(model.optimizer) is not None:
        wanted = "averaged"
        with averaged_weights(model.optimizer):
            arrays = state.weights_of(model)
    if arrays is None:
        return {"used": "last"}
    last = state.weights_of(model)
    if averaging(model.optimizer) is None:
        state.assign_weights(model, arrays)
        return {"used": wanted}
    images, words, margin = _images(setup)
    of_last = _bits(model, images)
    state.assign_weights(model, arrays)
    found = _bits(model, images)
    figures = {wanted: found, "last": of_last}
    finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    chosen = {**finite, "unit": "bits/dim", "images": words}
    if math.isfinite(of_last) and not found <= of_last * (1.0 + margin):
        state.assign_weights(model, last)
        return {"used": "last", **chosen}
    return {"used": wanted, **chosen}


def describe(chosen: dict[str, Any]) -> str | None:
    """One line if the weights are not those that the recipe asks for, otherwise None.

    >>> from tfgen.training.final_weights import describe
    >>> describe({"used": "last", "averaged": 5.2, "last": 4.4, "images": "9 validation images"})
    'saved the weights of the last step: 4.400 bits/dim on 9 validation images, averaged 5.200'
    """
    other = next((name for name in ("averaged", "best") if name in chosen), None)
    if chosen["used"] != "last" or other is None:
        return None
    worse = "not a number" if chosen[other] is None else f"{chosen[other]:.3f}"
    return (
        f"saved the weights of the last step: {chosen['last']:.3f} bits/dim on "
        f"{chosen['images']}, {other} {worse}"
    )


def _best(loop):
    try:
        return loop.checkpoints.best().arrays
    except DamagedError as error:
        raise InputError(f"the best weights cannot be read: {error}") from None


def count(setup: Setup) -> int:
    """The number of images on which averages and last weights are compared; 0 without averages."""
    if averaging(setup.model.optimizer) is None:
        return 0
    return min(MOST_IMAGES, setup.data.splits[_split(setup)])


def _split(setup):
    return "validation" if "validation" in setup.data.splits else "train"


def _images(setup):
    """The images to compare on, their description, and the margin of the averages."""
    split = _split(setup)
    images = setup.data.stream(split, batch_size=count(setup), shuffle=False).global_batch(0)
    kind, margin = ("validation", 0.0) if split == "validation" else ("training", TRAINING_MARGIN)
    return images, f"{len(images):,} {kind} images", margin


def _bits(model, images):
    k = model.num_evaluation_samples
    return round(float(np.mean(model.bits_per_dim(images, num_samples=k), dtype="float64")), 5)
