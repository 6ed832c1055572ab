"""Coupling by rational-quadratic splines."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen import checks
from tfgen.bijectors import rational_quadratic
from tfgen.bijectors.coupling import AdditiveCoupling

LARGEST_NUM_BINS = 256  # of at least 1e-3 of the interval each


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class RationalQuadraticCoupling(AdditiveCoupling):
    """Transforms half of the channels by monotone splines, given by a network of the other half.

    Equations, with x = (x_a, x_b) the two halves of the channels, and g one monotone spline of
    K = `num_bins` pieces for each value of x_a, whose knots and slopes are network(x_b):

    - inverse: z_a = g(x_a), z_b = x_b
    - forward: x_a = g^-1(z_a), x_b = z_b
    - log |det dz/dx| = sum(log g') over pixels and changed channels

    Each piece is a quotient of two quadratic polynomials and increases from -B to B = `tail_bound`;
    outside of [-B, B] g is the identity (linear tails). g starts as the identity everywhere. Data
    should have most of their mass in [-B, B], as they do after an actnorm.

    x_a are the first ceil(C / 2) channels, x_b the others. With `context_channels` J > 0 the inputs
    of the network are x_b and a context h.

    Shapes: `[..., H, W, C] -> [..., H, W, C]` with a context `[..., H, W, J]`, or
    `[..., C] -> [..., C]` with a context `[..., J]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors; C at least 2.
        num_bins: K, the number of pieces, 2 to 256.
        tail_bound: B.
        width: hidden channels of the network.
        context_channels: J, for a conditional coupling.
        network: as for `AdditiveCoupling`; a Keras model maps `[N, ..., C_b + J]` to
            `[N, ..., C_a (3K - 1)]`: for each channel K widths, K heights and K - 1 slopes.
        blocks: residual blocks of a gated network.
        network_dtype: dtype in which a network given by name computes, such as "bfloat16"; by
            default `dtype`, which all other computations use.
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: fewer than two channels, a number of bins or a bound out of range, an unknown
            network or one of other shapes, data of another shape.

    Source: Durkan, Bekasov, Murray and Papamakarios, Neural spline flows, 2019 (1906.04032),
    sections 3.1 and 3.2.

    Example:

    >>> import numpy as np, tfgen
    >>> coupling = tfgen.bijectors.RationalQuadraticCoupling((2,), width=8)
    >>> x = np.array([[0.5, -1.0], [7.0, 2.0]], "float32")
    >>> bool(np.allclose(coupling.inverse(x), x, atol=1e-6))  # starts as the identity
    True
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_bins: int = 8,
        tail_bound: float = 5.0,
        width: int = 512,
        context_channels: int = 0,
        network: str | keras.Layer = "convolutional",
        blocks: int = 2,
        network_dtype: str | None = None,
        dtype: str | tf.DType = "float32",
        name: str = "rational_quadratic_coupling",
    ) -> None:
        parameters = dict(locals())
        self._num_bins = checks.integer(f"{name}: num_bins", num_bins, 2, LARGEST_NUM_BINS)
        self._tail_bound = checks.number(f"{name}: tail_bound", tail_bound, 0, open_low=True)
        self.outputs_per_channel = rational_quadratic.num_parameters(self._num_bins)
        super().__init__(
            event_shape,
            width=width,
            context_channels=context_channels,
            network=network,
            blocks=blocks,
            network_dtype=network_dtype,
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    def _inverse_of_changed(self, changed, outputs):
        spline = self._spline(changed, outputs)
        return _summed(*rational_quadratic.evaluate(changed, spline, self._tail_bound))

    def _forward_of_changed(self, changed, outputs):
        spline = self._spline(changed, outputs)
        return _summed(*rational_quadratic.invert(changed, spline, self._tail_bound))

    def _spline(self, changed, outputs):
        shape = [-1, *changed.shape[1:], self.outputs_per_channel]
        parameters = tf.reshape(outputs, shape)
        return rational_quadratic.spline_of(parameters, self._num_bins, self._tail_bound)

    def _changed_vjp(self, changed, outputs, grad_changed, grad_log_det):
        x = tf.stop_gradient(self._forward_of_changed(changed, outputs)[0])
        with tf.GradientTape() as tape:
            tape.watch([x, outputs])
            results = self._inverse_of_changed(x, outputs)
        grads = tape.gradient(results, [x, outputs], output_gradients=[grad_changed, grad_log_det])
        return x, *grads


def _summed(value, log_slopes):
    return value, tf.reduce_sum(log_slopes, axis=list(range(1, log_slopes.shape.rank)))
