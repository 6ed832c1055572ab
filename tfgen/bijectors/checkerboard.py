"""Couplings between the two colors of a checkerboard."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen import checks
from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.coupling import AffineCoupling
from tfgen.bijectors.squeeze import Squeeze


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class CheckerboardCoupling(FlowBijector):
    """Scales and shifts the pixels of one color of a checkerboard, given those of the other.

    Equations, with x_a the pixels (i, j) with i + j even (odd with parity=1) and x_b the others:

    - inverse: z_a = s * x_a + t, z_b = x_b, (t, log s) = network(x_b)
    - forward: x_a = (z_a - t) / s, x_b = z_b
    - log |det dz/dx| = sum(log s) over the changed pixels

    No mask is needed: blocks of 2x2 pixels become channels, each diagonal of a block has one color,
    and an `AffineCoupling` transforms these halves. Its network runs at half the resolution, which
    costs a quarter.

    Shapes: `[..., H, W, C] -> [..., H, W, C]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data; H and W even.
        parity: 0 or 1, the parity of i + j for the pixels that change.
        width: hidden channels of the network.
        scale, network, blocks: see `AffineCoupling`.
        network_dtype: dtype in which the network computes, such as "bfloat16".
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: a side is odd, the parity is neither 0 nor 1, or as for `AffineCoupling`.

    Source: Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2016
    (1605.08803), section 3.4.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> coupling = tfgen.bijectors.CheckerboardCoupling((4, 4, 1), width=8)
    >>> x = tf.ones([3, 4, 4, 1])
    >>> bool(tf.reduce_all(coupling.inverse(x) == x))  # starts as the identity
    True
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        parity: int = 0,
        width: int = 512,
        scale: str = "tanh",
        network: str | keras.Layer = "convolutional",
        blocks: int = 2,
        network_dtype: str | None = None,
        dtype: str | tf.DType = "float32",
        name: str = "checkerboard_coupling",
    ) -> None:
        parameters = dict(locals())
        self._parity = checks.integer(f"{name}: parity", parity, 0, 1)
        self._squeeze = Squeeze(event_shape, dtype=dtype, name=f"{name}_squeeze")
        self._coupling = AffineCoupling(
            self._squeeze.latent_shape,
            width=width,
            scale=scale,
            network=network,
            blocks=blocks,
            network_dtype=network_dtype,
            dtype=dtype,
            name=f"{name}_affine",
        )
        super().__init__(event_shape, dtype=dtype, name=name, parameters=parameters)

    @property
    def inner_bijectors(self) -> Sequence[FlowBijector]:
        return [self._squeeze, self._coupling]

    def _inverse_with_log_det(self, x):
        changed, conditioner = self._colors(x)
        z, log_det = self._coupling.inverse_of_halves(changed, conditioner)
        return self._pixels(z), log_det

    def _forward_with_log_det(self, z):
        x, log_det = self._coupling._forward_with_log_det(tf.concat(self._colors(z), axis=-1))
        return self._pixels(x), log_det

    def _inverse_vjp(self, z, grad_z, grad_log_det):
        # The gradient of reordered values is reordered as the values are.
        x, grad_x, grad_weights = self._coupling._inverse_vjp(
            tf.concat(self._colors(z), axis=-1),
            tf.concat(self._colors(grad_z), axis=-1),
            grad_log_det,
        )
        return self._pixels(x), self._pixels(grad_x), grad_weights

    def _colors(self, images):
        """The pixels that change and the others, `[N, H/2, W/2, 2C]` each."""
        blocks = self._squeeze._inverse_with_log_det(images)[0]
        top_left, top_right, bottom_left, bottom_right = tf.split(blocks, 4, axis=-1)
        colors = [
            tf.concat([top_left, bottom_right], axis=-1),
            tf.concat([top_right, bottom_left], axis=-1),
        ]
        return colors[:: -1 if self._parity else 1]

    def _pixels(self, colors):
        """Images from the concatenated results of `_colors`."""
        a, b, c, d = tf.split(colors, 4, axis=-1)
        order = [c, a, b, d] if self._parity else [a, c, d, b]
        return self._squeeze._forward_with_log_det(tf.concat(order, axis=-1))[0]
