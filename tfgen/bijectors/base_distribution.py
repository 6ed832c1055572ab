"""The distribution of a flow's latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfgen.bijectors.tf_variables import TensorFlowVariables
from tfgen.errors import InputError


class BaseDistribution(keras.layers.Layer):
    """The distribution of latents z: standard normal, or one of TFP whose variables are trained.

    Equation: call(z) = log p(z) in nats.

    Shapes: `[N, *event_shape] -> [N]`.

    Args:
        distribution: a `tfd.Distribution`; None for N(0, I).
        event_shape: that of the latents.
        dtype: dtype of the latents.
        name: name of the layer.

    Raises:
        InputError: not a distribution, or one of another event shape, batch shape or dtype.

    Example:

    >>> import tensorflow as tf
    >>> from tensorflow_probability import distributions as tfd
    >>> from tfgen.bijectors.base_distribution import BaseDistribution
    >>> base = BaseDistribution(tfd.MultivariateNormalDiag(tf.Variable([0.0, 1.0])), (2,))
    >>> base(tf.zeros([3, 2])).shape, len(base.trainable_weights)
    (TensorShape([3]), 1)
    """

    def __init__(
        self,
        distribution: tfd.Distribution | None,
        event_shape: Sequence[int],
        *,
        dtype: str = "float32",
        name: str = "base",
    ) -> None:
        super().__init__(dtype=dtype, name=name)
        self._event_shape = tuple(event_shape)
        self.distribution = distribution
        if distribution is not None:
            self._check(distribution)
            variables = list(distribution.variables)
            # Keras names the weights in files by this attribute.
            self.variables_layer = TensorFlowVariables(variables) if variables else None
        self.built = True

    @property
    def is_standard_normal(self) -> bool:
        """Whether the latents are N(0, I)."""
        return self.distribution is None

    def build(self, z_shape: Sequence[int | None]) -> None:
        self.built = True

    def compute_output_shape(self, z_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(z_shape[:1])

    def call(self, z: tf.Tensor) -> tf.Tensor:
        if self.distribution is not None:
            return self.distribution.log_prob(z)
        squares = tf.reduce_sum(z**2, axis=list(range(1, z.shape.rank)))
        return -0.5 * squares - 0.5 * math.log(2.0 * math.pi) * math.prod(self._event_shape)

    def sample(self, n: int, seed: int | None = None, temperature: float = 1.0) -> tf.Tensor:
        """Latents: `[n, *event_shape]`.

        Args:
            n: number of latents.
            seed: determines them; by default they come from TensorFlow's global generator.
            temperature: multiplies standard normal latents.

        Raises:
            InputError: a temperature other than 1 for another distribution.
        """
        if self.distribution is None:
            shape = (n, *self._event_shape)
            if seed is None:
                noise = tf.random.normal(shape, dtype=self.compute_dtype)
            else:
                pair = tf.constant([seed, 0], tf.int64)
                noise = tf.random.stateless_normal(shape, pair, dtype=self.compute_dtype)
            return temperature * noise
        if temperature != 1.0:
            raise InputError(
                f"{self.name}: a temperature scales standard normal latents, and these are of a "
                f"{type(self.distribution).__name__.lstrip('_')}; omit it"
            )
        # With a single int TFP would draw other numbers at each call.
        pair = None if seed is None else tf.bitcast(tf.constant(seed, tf.int64), tf.int32)
        return self.distribution.sample(n, seed=pair)

    def _check(self, distribution: Any) -> None:
        kind = type(distribution).__name__.lstrip("_")
        if not isinstance(distribution, tfd.Distribution):
            raise InputError(
                f"{self.name} must be a distribution of tensorflow_probability, or None for "
                f"standard normal latents, got a {kind}"
            )
        if not isinstance(distribution.dtype, tf.DType):
            raise InputError(f"{self.name}: {kind} has events of several parts; one is needed")
        if tuple(distribution.batch_shape) != ():
            raise InputError(
                f"{self.name}: {kind} is a batch of distributions, of shape "
                f"{tuple(distribution.batch_shape)}; make it one of vectors or images with "
                "tfd.Independent"
            )
        if tuple(distribution.event_shape) != self._event_shape:
            raise InputError(
                f"{self.name}: the latents have shape {self._event_shape}, but events of "
                f"{kind} have shape {tuple(distribution.event_shape)}"
            )
        if distribution.dtype.name != self.compute_dtype:
            raise InputError(
                f"{self.name}: the bijectors compute in {self.compute_dtype}, but {kind} in "
                f"{distribution.dtype.name}"
            )
