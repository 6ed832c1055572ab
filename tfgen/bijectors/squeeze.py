"""Space to depth: resolution traded for channels."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen import checks
from tfgen.bijectors.base import FlowBijector
from tfgen.errors import InputError


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class Squeeze(FlowBijector):
    """Blocks of factor x factor pixels become the channels of one pixel.

    Equations: the values are reordered, so both log-determinants are 0.

    Shapes: inverse `[..., H, W, C] -> [..., H/factor, W/factor, factor^2 C]`, forward the reverse.

    Args:
        event_shape: (H, W, C) of the data.
        factor: side of the blocks, in pixels.
        dtype: dtype of the data.
        name: name of the bijector.

    Raises:
        InputError: sides that are not multiples of the factor, or data of another shape or dtype.

    Source: Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2016
    (1605.08803), section 3.6.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> tfgen.bijectors.Squeeze((28, 28, 1)).inverse(tf.zeros([5, 28, 28, 1])).shape
    TensorShape([5, 14, 14, 4])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        factor: int = 2,
        dtype: str | tf.DType = "float32",
        name: str = "squeeze",
    ) -> None:
        parameters = dict(locals())
        height, width, channels = checks.image_shape(f"{name}: event_shape", event_shape)
        factor = checks.integer(f"{name}: factor", factor, 2)
        if height % factor or width % factor:
            raise InputError(
                f"{name}: both sides must be multiples of {factor}, got {height}x{width}; "
                f"{_nearest(height, factor)}x{_nearest(width, factor)} would work"
            )
        self._factor = factor
        latent_shape = (height // factor, width // factor, channels * factor**2)
        super().__init__(
            event_shape, latent_shape=latent_shape, dtype=dtype, name=name, parameters=parameters
        )

    def _inverse_with_log_det(self, x):
        return tf.nn.space_to_depth(x, self._factor), tf.zeros([], x.dtype)

    def _forward_with_log_det(self, z):
        return tf.nn.depth_to_space(z, self._factor), tf.zeros([], z.dtype)


def _nearest(side, factor):
    return max(1, round(side / factor)) * factor
