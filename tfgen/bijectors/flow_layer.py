"""A bijector as a Keras layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen.bijectors import serialization
from tfgen.bijectors.base import FlowBijector


@keras.saving.register_keras_serializable(package="tfgen")
class FlowLayer(keras.layers.Layer):
    """A layer around a bijector, so that a Keras model trains, counts and saves its weights.

    Keras tracks only the weights of layers. A TFP bijector is not a layer, so it is not trained if
    it is a plain attribute of a model.

    Equations: call(x) = (z, log |det dz/dx|), the bijector's `inverse_and_log_det`.

    Shapes: `[N, *data_shape] -> [N, *latent_shape], [N]`, with a context `[N, *context_shape]` for
    a conditional bijector.

    Args:
        bijector: one of `tfgen.bijectors`.
        name: name of the layer; by default that of the bijector.

    Example:

    >>> import keras, tensorflow as tf, tfgen
    >>> flow = tfgen.bijectors.FlowLayer(tfgen.bijectors.GlowStep((4, 4, 2), width=8))
    >>> model = keras.Sequential([keras.layers.Dense(2), flow])
    >>> z, log_det = model(tf.ones([3, 4, 4, 1]))
    >>> z.shape, log_det.shape, len(model.trainable_weights) - 2 == len(flow.trainable_weights)
    (TensorShape([3, 4, 4, 2]), TensorShape([3]), True)
    """

    def __init__(self, bijector: FlowBijector, name: str | None = None) -> None:
        super().__init__(name=name or bijector.name, dtype=bijector.dtype.name)
        self.bijector = bijector
        self.layers = bijector.layers  # Keras names the weights in files by this attribute.
        self.built = True

    def call(
        self, x: tf.Tensor | ArrayLike, context: tf.Tensor | ArrayLike | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return self.bijector.inverse_and_log_det(x, context)

    def compute_output_shape(
        self, x_shape: Sequence[int | None], context_shape: Sequence[int | None] | None = None
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        batch = tuple(x_shape[: -len(self.bijector.data_shape)])
        return (*batch, *self.bijector.latent_shape), batch

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bijector": serialization.serialize(self.bijector)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FlowLayer:
        layer = cls(serialization.deserialize(config["bijector"]), name=config.get("name"))
        layer.trainable = config.get("trainable", True)
        return layer
