"""Couplings between the two colours of a checkerboard."""

import tensorflow as tf

from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.coupling import AffineCoupling
from tfgen.bijectors.squeeze import Squeeze
from tfgen.errors import InputError


class CheckerboardCoupling(FlowBijector):
    """The pixels of one colour of a checkerboard scaled and shifted by what the others say.

    Equations, with x_a the pixels (i, j) with i + j even (odd with parity=1) and x_b the others:

    - inverse: z_a = s * x_a + t, z_b = x_b, (t, log s) = network(x_b)
    - forward: x_a = (z_a - t) / s, x_b = z_b
    - log |det dz/dx| = sum(log s) over the changed pixels

    Computed without a mask: blocks of 2x2 pixels become channels, of which those on one diagonal
    are one colour; an `AffineCoupling` on these halves does the rest, and its network works at
    half the resolution, at a quarter of the cost.

    Shapes: `[..., H, W, C] -> [..., H, W, C]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data; H and W even.
        parity: 0 or 1, of the pixels that change.
        width: hidden channels of the network.
        scale, network, blocks: see `AffineCoupling`.
        network_dtype: in which the network computes, such as "bfloat16".
        dtype: of data and weights.
        name: of the bijector.

    Raises:
        InputError: odd sides, another parity, and whatever the coupling refuses.

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
        event_shape,
        *,
        parity=0,
        width=512,
        scale="tanh",
        network="convolutional",
        blocks=2,
        network_dtype=None,
        dtype="float32",
        name="checkerboard_coupling",
    ):
        parameters = dict(locals())
        if parity not in (0, 1):
            raise InputError(f"{name}: parity must be 0 or 1, got {parity!r}")
        self._parity = parity
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
    def inner_bijectors(self):
        return [self._squeeze, self._coupling]

    def _inverse_with_log_det(self, x):
        z, log_det = self._coupling.inverse_of_halves(*self._colours(x))
        return self._pixels(z), log_det

    def _forward_with_log_det(self, z):
        x, log_det = self._coupling._forward_with_log_det(tf.concat(self._colours(z), axis=-1))
        return self._pixels(x), log_det

    def _inverse_gradient(self, z, of_z, of_log_det):
        # The gradient of a reordering is reordered like the value.
        x, of_x, of_weights = self._coupling._inverse_gradient(
            tf.concat(self._colours(z), axis=-1),
            tf.concat(self._colours(of_z), axis=-1),
            of_log_det,
        )
        return self._pixels(x), self._pixels(of_x), of_weights

    def _colours(self, images):
        """The pixels that change and the others, `[N, H/2, W/2, 2C]` each."""
        blocks = self._squeeze._inverse_with_log_det(images)[0]
        top_left, top_right, bottom_left, bottom_right = tf.split(blocks, 4, axis=-1)
        colours = [
            tf.concat([top_left, bottom_right], axis=-1),
            tf.concat([top_right, bottom_left], axis=-1),
        ]
        return colours[:: -1 if self._parity else 1]

    def _pixels(self, colours):
        """Images from what `_colours` gives, concatenated."""
        a, b, c, d = tf.split(colours, 4, axis=-1)
        order = [c, a, b, d] if self._parity else [a, c, d, b]
        return self._squeeze._forward_with_log_det(tf.concat(order, axis=-1))[0]
