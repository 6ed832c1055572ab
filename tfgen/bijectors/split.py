"""The prior of the channels that leave the flow at the end of a level."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen import checks
from tfgen.bijectors.base import FlowBijector
from tfgen.errors import InputError


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class Split(FlowBijector):
    """Standardizes the channels that leave a level given those that stay.

    In Glow the channels that leave have the prior N(m, s), with m and log s computed by a
    convolution of the channels that stay. Here they are standardized by m and s and have the prior
    N(0, 1), which is equivalent, so that one temperature scales every latent.

    Equations, with x = (x_stay, x_leave) and (m, log s) = convolution(x_stay):

    - inverse: z_leave = (x_leave - m) / s, z_stay = x_stay
    - forward: x_leave = m + s * z_leave, x_stay = z_stay
    - log |det dz/dx| = -sum(log s)

    The weights of the 3x3 convolution start at zero, so that the bijector starts as the identity.

    Shapes: `[..., H, W, C] -> [..., H, W, C]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data.
        fraction: fraction of the channels that leave, rounded to an integer number of channels; the
            last channels leave.
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: a fraction outside (0, 1), a fraction for which no channel would leave or stay,
            an event shape that is not (H, W, C), or data of another shape or dtype.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 3.4 and figure 2.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> split = tfgen.bijectors.Split((4, 4, 8), fraction=0.25)
    >>> split.staying, split.leaving
    (6, 2)
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        fraction: float = 0.5,
        dtype: str | tf.DType = "float32",
        name: str = "split",
    ) -> None:
        parameters = dict(locals())
        channels = checks.image_shape(f"{name}: event_shape", event_shape)[-1]
        checks.number(f"{name}: fraction", fraction, 0, 1, open_low=True, open_high=True)
        self.leaving = round(channels * fraction)
        self.staying = channels - self.leaving
        if not (self.leaving and self.staying):
            raise InputError(
                f"{name}: with fraction={fraction} all {channels} channels would leave or stay; "
                f"fractions from {1 / channels:.3g} to {1 - 1 / channels:.3g} work"
            )
        convolution = keras.layers.Conv2D(
            2 * self.leaving,
            3,
            padding="same",
            kernel_initializer="zeros",
            dtype=dtype,
            name=f"{name}_prior",
        )
        convolution.build((None, *event_shape[:2], self.staying))
        self._convolution = convolution
        super().__init__(
            event_shape, layers=[convolution], dtype=dtype, name=name, parameters=parameters
        )

    def _mean_and_log_scale(self, staying):
        return tf.split(self._convolution(staying), 2, axis=-1)

    def _inverse_with_log_det(self, x):
        staying, leaving = tf.split(x, [self.staying, self.leaving], axis=-1)
        mean, log_scale = self._mean_and_log_scale(staying)
        z = tf.concat([staying, (leaving - mean) * tf.exp(-log_scale)], axis=-1)
        return z, -tf.reduce_sum(log_scale, axis=[1, 2, 3])

    def _forward_with_log_det(self, z):
        staying, leaving = tf.split(z, [self.staying, self.leaving], axis=-1)
        mean, log_scale = self._mean_and_log_scale(staying)
        x = tf.concat([staying, mean + leaving * tf.exp(log_scale)], axis=-1)
        return x, tf.reduce_sum(log_scale, axis=[1, 2, 3])
