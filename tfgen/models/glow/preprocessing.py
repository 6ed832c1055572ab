"""Bijectors between the input of a flow and the values of an image.

They follow TFP's convention: `forward` computes values y in [-1/2, 1/2) from the output v of the
flow, and `inverse` computes v from y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from tfgen.bijectors.base import FlowBijector
from tfgen.numerics import log_sigmoid, sum_over_event

SMALLEST = 1e-6  # the smallest probability whose logit is taken


class LinearPreprocessing(FlowBijector):
    """The values themselves: y = v.

    Args:
        image_shape: (H, W, C).
        name: name of the bijector.
    """

    def __init__(self, image_shape: Sequence[int], *, name: str = "linear") -> None:
        super().__init__(image_shape, name=name, parameters=dict(locals()))

    def _forward_with_log_det(self, v):
        return v, tf.zeros(tf.shape(v)[:1])

    def _inverse_with_log_det(self, y):
        return y, tf.zeros(tf.shape(y)[:1])

    def inverse_of_levels(
        self, levels: tf.Tensor, offsets: tf.Tensor | float, num_bits: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """v and the log-determinant at y = (l + u) / 2^n - 1/2, for levels l and offsets u."""
        return self._inverse_with_log_det((levels + offsets) / 2.0**num_bits - 0.5)


class LogitPreprocessing(FlowBijector):
    """The log-odds of the values, unbounded on both sides.

    Equations, with y in [-1/2, 1/2) and a = 1e-6:

    - forward: y = (sigmoid(v) - a) / (1 - 2a) - 1/2
    - inverse: p = a + (1 - 2a) (1/2 + y), q = a + (1 - 2a) (1/2 - y), v = log p - log q
    - log |det dv/dy| = sum(log(1 - 2a) - log p - log q)

    The density of a flow is smooth. On this scale it does not have to end at black and white, where
    many images have most of their pixels, or to be 256 times narrower there than elsewhere.

    A `tfb.Chain` of TFP's Shift, Scale and Sigmoid is the same function, but computes 1 - p from
    the rounded p, which leaves few digits for white pixels, where p is almost 1. Here q keeps all
    its digits. `inverse_of_levels` computes p and q from the level and the offset of a pixel, whose
    sum y - 1/2 would have few digits of the offset left for dark pixels.

    Args:
        image_shape: (H, W, C).
        name: name of the bijector.

    Source: Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2016
    (1605.08803), section 4.1; a as in Papamakarios et al., Masked autoregressive flow, 2017
    (1705.07057), section 4.3, for MNIST.

    Example:

    >>> import numpy as np
    >>> from tfgen.models.glow.preprocessing import LogitPreprocessing
    >>> logit = LogitPreprocessing((2, 2, 1))
    >>> v, log_det = logit.inverse_and_log_det(np.zeros((1, 2, 2, 1), "float32"))
    >>> float(v[0, 0, 0, 0]), round(float(log_det[0]), 4)
    (0.0, 5.5452)
    """

    def __init__(self, image_shape: Sequence[int], *, name: str = "logit") -> None:
        super().__init__(image_shape, name=name, parameters=dict(locals()))

    def _forward_with_log_det(self, v):
        wide = 1.0 - 2.0 * SMALLEST
        log_slope = log_sigmoid(v) + log_sigmoid(-v) - math.log(wide)
        y = (tf.sigmoid(v) - SMALLEST) / wide - 0.5
        return y, sum_over_event(log_slope)

    def _inverse_with_log_det(self, y):
        return self._logit(0.5 + y, 0.5 - y)

    def inverse_of_levels(
        self, levels: tf.Tensor, offsets: tf.Tensor | float, num_bits: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """v and the log-determinant at y = (l + u) / 2^n - 1/2, for levels l and offsets u."""
        last = 2.0**num_bits - 1.0
        below, above = levels + offsets, (last - levels) + (1.0 - offsets)
        return self._logit(below / 2.0**num_bits, above / 2.0**num_bits)

    def _logit(self, below, above):
        """The log-odds of a share of the range below a value and the share above it."""
        wide = 1.0 - 2.0 * SMALLEST
        log_p = tf.math.log(SMALLEST + wide * below)
        log_q = tf.math.log(SMALLEST + wide * above)
        log_slope = math.log(wide) - log_p - log_q
        return log_p - log_q, sum_over_event(log_slope)


PREPROCESSINGS = {"linear": LinearPreprocessing, "logit": LogitPreprocessing}
