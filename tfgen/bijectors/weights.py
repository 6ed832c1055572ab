"""The weights of bijectors: Keras variables in Keras layers."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf
from numpy.typing import ArrayLike


class Weights(keras.layers.Layer):
    """A Keras layer that only holds weights.

    Each weight gets its initial value when it is added, so that saved files, optimizers and
    summaries treat the weights of a bijector like those of any layer.

    Example:

    >>> from tfgen.bijectors.weights import Weights
    >>> weights = Weights(dtype="float32", name="actnorm")
    >>> weights.add("shift", [1.0, 2.0]).path
    'actnorm/shift'
    """

    def __init__(self, *, dtype: str | tf.DType, name: str) -> None:
        super().__init__(dtype=dtype, name=name)
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def add(
        self,
        name: str,
        value: tf.Tensor | ArrayLike,
        *,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> keras.Variable:
        """Add a weight.

        Args:
            name: name of the weight.
            value: its initial value.
            trainable: whether optimizers update it.
            dtype: dtype of the weight; by default that of the layer.
        """
        value = tf.cast(value, dtype or self.variable_dtype)
        return self.add_weight(
            shape=value.shape,
            initializer=lambda shape, dtype=None: value,
            dtype=value.dtype.name,
            trainable=trainable,
            name=name,
        )


def weights_of(layers: Iterable[keras.Layer]) -> list[keras.Variable]:
    """The weights of Keras layers, in the order of the layers."""
    return [weight for layer in layers for weight in layer.weights]


def values_of(layers: Iterable[keras.Layer]) -> list[tf.Tensor]:
    """The values of `weights_of`, read on the current replica."""
    return [tf.convert_to_tensor(weight.value) for weight in weights_of(layers)]


def can_be_trained(weight: keras.Variable) -> bool:
    """Whether a weight is trainable, or would be if its layer were not frozen.

    A graph that computes the gradients of all these weights stays valid when `trainable` changes.
    """
    return weight.dtype.startswith(("float", "bfloat"))


def trainable_values_of(layers: Iterable[keras.Layer]) -> list[tf.Tensor]:
    """The values of the weights that `can_be_trained`, read on the current replica."""
    trainable = (weight for weight in weights_of(layers) if can_be_trained(weight))
    return [tf.convert_to_tensor(weight.value) for weight in trainable]
