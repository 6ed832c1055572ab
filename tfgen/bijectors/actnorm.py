"""Activation normalization with data-dependent initialization."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen.bijectors.base import FlowBijector, image_or_vector_shape
from tfgen.bijectors.weights import Weights

SMALLEST_STANDARD_DEVIATION = 1e-6


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class ActNorm(FlowBijector):
    """One scale and one shift per channel, set on a first batch to give mean 0 and variance 1.

    Equations, with s = exp(log_scale) and s, b of shape [C]:

    - inverse: z = s * x + b
    - forward: x = (z - b) / s
    - log |det dz/dx| = H * W * sum(log s)

    Shapes: `[..., H, W, C] -> [..., H, W, C]`, or `[..., C] -> [..., C]` with H W = 1;
    log-determinants `[...]` in nats.

    Before `initialize(x)` is called the bijector is the identity. A channel whose standard
    deviation is below 1e-6 keeps scale 1. `initialized` is saved with the weights.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors.
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: an event shape of another rank, or data of another shape or dtype.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 3.1.

    Example:

    >>> import numpy as np, tfgen
    >>> x = np.random.default_rng(0).normal(3.0, 2.0, (16, 4, 4, 2)).astype("float32")
    >>> actnorm = tfgen.bijectors.ActNorm((4, 4, 2))
    >>> z = actnorm.initialize(x)
    >>> bool(abs(np.mean(z)) < 1e-5), round(float(np.std(z)), 3)
    (True, 1.0)
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        dtype: str | tf.DType = "float32",
        name: str = "actnorm",
    ) -> None:
        parameters = dict(locals())
        *sides, channels = image_or_vector_shape(f"{name}: event_shape", event_shape)
        weights = Weights(dtype=dtype, name=name)
        self._log_scale = weights.add("log_scale", tf.zeros([channels]))
        self._shift = weights.add("shift", tf.zeros([channels]))
        self._initialized = weights.add("initialized", False, trainable=False, dtype="bool")
        self._pixels = math.prod(sides)
        super().__init__(
            event_shape, layers=[weights], dtype=dtype, name=name, parameters=parameters
        )

    @property
    def initialized(self) -> bool:
        """Whether the weights have been set from data."""
        return bool(self._initialized.numpy())

    def initialize(
        self, x: tf.Tensor | ArrayLike, context: tf.Tensor | ArrayLike | None = None
    ) -> tf.Tensor:
        x = self._checked(x, self.data_shape)
        if not self.initialized:
            mean, variance = tf.nn.moments(x, axes=list(range(x.shape.rank - 1)))
            deviation = tf.sqrt(variance)
            deviation = tf.where(
                deviation < SMALLEST_STANDARD_DEVIATION, tf.ones_like(deviation), deviation
            )
            self._log_scale.assign(-tf.math.log(deviation))
            self._shift.assign(-mean / deviation)
            self._initialized.assign(True)
        return self._inverse_with_log_det(x)[0]

    def scale_and_shift(self) -> tuple[tf.Tensor, tf.Tensor]:
        """s and b, both `[C]`."""
        return tf.exp(self._log_scale.value), self._shift.value

    def log_det(self) -> tf.Tensor:
        """log |det dz/dx|, the same for every input: a scalar in nats."""
        return self._pixels * tf.reduce_sum(self._log_scale.value)

    def _inverse_with_log_det(self, x):
        scale, shift = self.scale_and_shift()
        return x * scale + shift, self.log_det()

    def _forward_with_log_det(self, z):
        scale, shift = self.scale_and_shift()
        return (z - shift) / scale, -self.log_det()
