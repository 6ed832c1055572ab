"""Trade of resolution for channels."""

import tensorflow as tf

from tfgen.bijectors.base import FlowBijector, image_shape
from tfgen.errors import InputError


class Squeeze(FlowBijector):
    """Blocks of factor x factor pixels become channels of one pixel.

    Equations: a reordering of the numbers, so both log-determinants are 0.

    Shapes: inverse `[..., H, W, C] -> [..., H/factor, W/factor, factor^2 C]`, forward the way
    back.

    Args:
        event_shape: (H, W, C) of the data.
        factor: side of the blocks in pixels.
        dtype: of the data.
        name: of the bijector.

    Raises:
        InputError: sides that the factor does not divide, or data of another shape or dtype.

    Source: Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2016
    (1605.08803), section 3.6.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> tfgen.bijectors.Squeeze((28, 28, 1)).inverse(tf.zeros([5, 28, 28, 1])).shape
    TensorShape([5, 14, 14, 4])
    """

    def __init__(self, event_shape, *, factor=2, dtype="float32", name="squeeze"):
        parameters = dict(locals())
        height, width, channels = image_shape(event_shape, name)
        if not isinstance(factor, int) or factor < 2:
            raise InputError(f"{name}: factor must be an integer of at least 2, got {factor!r}")
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
