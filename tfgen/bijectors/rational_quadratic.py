"""Monotone rational-quadratic splines, elementwise, and their inverse."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

SMALLEST_BIN = 1e-3  # as a fraction of the interval
SMALLEST_SLOPE = 1e-3
SLOPE_OFFSET = math.log(math.expm1(1.0 - SMALLEST_SLOPE))  # softplus of it is 1 - SMALLEST_SLOPE


class Spline(NamedTuple):
    """The knots of monotone rational-quadratic splines on [-B, B], with K bins each.

    Attributes:
        inputs, outputs: increasing positions of the knots, from -B to B, `[..., K + 1]`.
        slopes: derivatives at the knots, positive, 1 at both ends, `[..., K + 1]`.
    """

    inputs: tf.Tensor
    outputs: tf.Tensor
    slopes: tf.Tensor


def num_parameters(num_bins: int) -> int:
    """Real numbers that determine a spline: widths, heights and inner slopes."""
    return 3 * num_bins - 1


def spline_of(parameters: tf.Tensor, num_bins: int, tail_bound: float) -> Spline:
    """The spline of unconstrained parameters; that of zeros is the identity.

    Equations: the first K parameters give the widths of the bins, 2B (m + (1 - K m) softmax), the
    next K their heights likewise, and the others the inner slopes m + softplus(. + c), with
    m = 1e-3 and c such that the slope of parameter 0 is 1.

    Shapes: `[..., 3K - 1] -> [..., K + 1]`.
    """
    widths, heights, slopes = tf.split(parameters, [num_bins, num_bins, num_bins - 1], axis=-1)
    inner = SMALLEST_SLOPE + tf.nn.softplus(slopes + SLOPE_OFFSET)
    end = tf.ones_like(widths[..., :1])
    return Spline(
        inputs=_knots(widths, num_bins, tail_bound),
        outputs=_knots(heights, num_bins, tail_bound),
        slopes=tf.concat([end, inner, end], axis=-1),
    )


def evaluate(x: tf.Tensor, spline: Spline, tail_bound: float) -> tuple[tf.Tensor, tf.Tensor]:
    """The value of each spline and the logarithm of its slope; the identity outside [-B, B].

    Shapes: x `[...]`, knots `[..., K + 1] -> [...], [...]`.
    """
    inside = abs(x) <= tail_bound
    # The branch that `tf.where` does not take must be finite too, or its gradient is NaN.
    clipped = tf.clip_by_value(x, -tail_bound, tail_bound)
    y, log_slope = _evaluate(clipped, _bin(clipped, spline.inputs, spline))
    return tf.where(inside, y, x), tf.where(inside, log_slope, tf.zeros_like(x))


def invert(y: tf.Tensor, spline: Spline, tail_bound: float) -> tuple[tf.Tensor, tf.Tensor]:
    """The argument at which each spline has the value y, and minus the logarithm of its slope.

    Equations: the root of a quadratic, followed by one step of Newton's method, which removes its
    rounding error. The gradient is that of the step, by the implicit function theorem; it needs no
    derivative of a square root.

    Shapes: y `[...]`, knots `[..., K + 1] -> [...], [...]`.
    """
    inside = abs(y) <= tail_bound
    clipped = tf.clip_by_value(y, -tail_bound, tail_bound)
    knots = _bin(clipped, spline.outputs, spline)
    root = tf.stop_gradient(_root(clipped, knots))
    value, log_slope = _evaluate(root, knots)
    x = root - (value - clipped) * tf.exp(-tf.stop_gradient(log_slope))
    _, log_slope = _evaluate(x, knots)
    return tf.where(inside, x, y), tf.where(inside, -log_slope, tf.zeros_like(y))


class _Bin(NamedTuple):
    """One bin per element: its left end, sizes, and slopes at both ends, `[...]` each."""

    left: tf.Tensor
    bottom: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    left_slope: tf.Tensor
    right_slope: tf.Tensor


def _knots(sizes, num_bins, tail_bound):
    fractions = SMALLEST_BIN + (1.0 - num_bins * SMALLEST_BIN) * tf.nn.softmax(sizes)
    inner = 2.0 * tail_bound * tf.cumsum(fractions, axis=-1)[..., :-1] - tail_bound
    # Both ends are exact, so that the spline joins the identity outside.
    end = tail_bound * tf.ones_like(sizes[..., :1])
    return tf.concat([-end, inner, end], axis=-1)


def _bin(position, knots, spline):
    """The bin in which each position lies, `knots` being the spline's inputs or outputs."""
    number = tf.reduce_sum(tf.cast(position[..., None] >= knots[..., 1:-1], tf.int32), axis=-1)
    chosen = tf.one_hot(number, knots.shape[-1] - 1, dtype=knots.dtype)

    def of_bin(values):
        return tf.reduce_sum(chosen * values, axis=-1)

    return _Bin(
        left=of_bin(spline.inputs[..., :-1]),
        bottom=of_bin(spline.outputs[..., :-1]),
        width=of_bin(spline.inputs[..., 1:] - spline.inputs[..., :-1]),
        height=of_bin(spline.outputs[..., 1:] - spline.outputs[..., :-1]),
        left_slope=of_bin(spline.slopes[..., :-1]),
        right_slope=of_bin(spline.slopes[..., 1:]),
    )


def _evaluate(x, knots):
    """Equations 4 and 5 of the paper."""
    u = (x - knots.left) / knots.width
    mean_slope = knots.height / knots.width
    curve = u * (1.0 - u)
    excess = knots.left_slope + knots.right_slope - 2.0 * mean_slope
    denominator = mean_slope + excess * curve
    y = knots.bottom + knots.height * (mean_slope * u**2 + knots.left_slope * curve) / denominator
    slope = (
        knots.right_slope * u**2 + 2.0 * mean_slope * curve + knots.left_slope * (1.0 - u) ** 2
    ) * (mean_slope / denominator) ** 2
    return y, tf.math.log(slope)


def _root(y, knots):
    """Equations 6 to 8 of the paper, in the form without cancellation."""
    v = (y - knots.bottom) / knots.height
    mean_slope = knots.height / knots.width
    excess = knots.left_slope + knots.right_slope - 2.0 * mean_slope
    a = (mean_slope - knots.left_slope) + v * excess
    b = knots.left_slope - v * excess
    c = -mean_slope * v
    root = -2.0 * c / (b + tf.sqrt(tf.maximum(b**2 - 4.0 * a * c, 0.0)))
    return knots.left + knots.width * tf.clip_by_value(root, 0.0, 1.0)
