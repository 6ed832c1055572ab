"""A bijector as a Keras layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike
from tensorflow_probability import bijectors as tfb

from tfgen.bijectors import composition, serialization
from tfgen.errors import InputError
from tfgen.fitting.phase import collected_losses


@keras.saving.register_keras_serializable(package="tfgen")
class FlowLayer(keras.layers.Layer):
    """A layer around a bijector, so that a Keras model trains, counts and saves its weights.

    Keras tracks only the weights of layers. A TFP bijector is not a layer, so it is not trained if
    it is a plain attribute of a model.

    Equations: call(x) = (z, log |det dz/dx|), the bijector's `inverse_and_log_det`. In place of x
    the layer also takes (x, l), the outputs of another `FlowLayer`, and adds its own
    log-determinant to l, so that several of them can follow each other in a `keras.Sequential`.

    Shapes: `[N, *data_shape] -> [N, *latent_shape], [N]`, with a context `[N, *context_shape]` for
    a conditional bijector.

    Args:
        bijector: one of `tfgen.bijectors` or of TensorFlow Probability, such as a `tfb.Chain` of
            both.
        dtype: dtype of the layer; by default that of the bijector.
        name: name of the layer; by default that of the bijector.

    Raises:
        InputError: not a bijector.

    Example:

    >>> import keras, tensorflow as tf, tfgen
    >>> flow = tfgen.bijectors.FlowLayer(tfgen.bijectors.GlowStep((4, 4, 2), width=8))
    >>> model = keras.Sequential([keras.layers.Dense(2), flow])
    >>> z, log_det = model(tf.ones([3, 4, 4, 1]))
    >>> z.shape, log_det.shape, len(model.trainable_weights) - 2 == len(flow.trainable_weights)
    (TensorShape([3, 4, 4, 2]), TensorShape([3]), True)
    """

    def __init__(
        self, bijector: tfb.Bijector, name: str | None = None, dtype: str | None = None
    ) -> None:
        if not isinstance(bijector, tfb.Bijector):
            raise InputError(f"FlowLayer takes a bijector, got a {type(bijector).__name__}")
        if dtype is None and bijector.dtype is not None:
            dtype = tf.as_dtype(bijector.dtype).name
        super().__init__(name=name or bijector.name, dtype=dtype)
        self.bijector = bijector
        # Keras names the weights in files by this attribute.
        self.layers = composition.layers_of(bijector)
        self.built = True

    def build(
        self, x_shape: Sequence[Any], context_shape: Sequence[int | None] | None = None
    ) -> None:
        self.built = True

    def call(
        self,
        x: tf.Tensor | ArrayLike | Sequence[tf.Tensor],
        context: tf.Tensor | ArrayLike | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x, before = x if isinstance(x, (tuple, list)) else (x, None)
        with collected_losses() as losses:
            z, log_det = composition.inverse_and_log_det(self.bijector, x, context)
        if losses:
            self.add_loss(losses)
        return z, log_det if before is None else before + log_det

    def initialize(
        self,
        x: tf.Tensor | ArrayLike | Sequence[tf.Tensor],
        context: tf.Tensor | ArrayLike | None = None,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Set the bijector's actnorms from a batch of inputs, and return the outputs of `call`.

        In a `keras.Sequential`, initialize the layers in turn, each from the outputs of the one
        before.

        Args:
            x: the inputs of the layer, as for `call`.
            context: for a conditional bijector.
        """
        values = x[0] if isinstance(x, (tuple, list)) else x
        composition.initialize(self.bijector, tf.convert_to_tensor(values), context)
        return self(x, context)

    def compute_output_shape(
        self, x_shape: Sequence[Any], context_shape: Sequence[int | None] | None = None
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        pair = isinstance(x_shape[0], (tuple, list))
        shape = tuple(x_shape[0] if pair else x_shape)
        event_shape = self.bijector.inverse_event_shape(tf.TensorShape(shape[1:]))
        return (shape[0], *event_shape), shape[:1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bijector": serialization.serialize(self.bijector)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FlowLayer:
        layer = cls(serialization.deserialize(config["bijector"]), name=config.get("name"))
        layer.trainable = config.get("trainable", True)
        return layer
