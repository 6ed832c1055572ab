"""Which layers of a model are frozen, as numbers that a file can hold."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from tfgen.errors import InputError


def frozen_layers(model: keras.Model) -> list[int]:
    """The frozen layers, by their numbers in the order in which Keras finds layers.

    Names would not do: those of the caller's layers may occur twice.
    """
    layers = model._flatten_layers(include_self=False)
    return [number for number, layer in enumerate(layers) if not layer.trainable]


def freeze(model: keras.Model, numbers: Iterable[int]) -> None:
    """Freeze these layers of a model that is built as the one that `frozen_layers` looked at.

    Raises:
        InputError: numbers that the model does not have.
    """
    layers, numbers = model._flatten_layers(include_self=False), list(numbers)
    if not all(isinstance(n, int) and 0 <= n < len(layers) for n in numbers):
        raise InputError(
            f"{model.name}: frozen_layers must be numbers below {len(layers)}, got {numbers}"
        )
    for number, layer in enumerate(layers):  # A layer comes before those inside it.
        layer.trainable = number not in numbers
