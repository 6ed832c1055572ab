"""The scale on which a flow sees the values of an image."""

import math

import tensorflow as tf

SMALLEST = 1e-6  # of the probability whose logit is taken


class LinearPreprocessing:
    """The values themselves: v = y, y in [-1/2, 1/2)."""

    @staticmethod
    def forward(y):
        """v and log |det dv/dy|: `[N, H, W, C] -> [N, H, W, C], [N]`."""
        return y, tf.zeros(tf.shape(y)[:1])

    @staticmethod
    def inverse(v):
        """y of v: `[N, H, W, C] -> [N, H, W, C]`."""
        return v


class LogitPreprocessing:
    """The log-odds of the values, unbounded on both sides.

    Equations, with y in [-1/2, 1/2) and a = 1e-6:

    - p = a + (1 - 2a) (1/2 + y), q = 1 - p, v = log(p / q)
    - log |det dv/dy| = sum(log(1 - 2a) - log p - log q)

    A flow's density is smooth; on this scale it need not end at black and at white, where many
    images have most of their pixels, nor be 256 times narrower there than elsewhere.

    Source: Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2016
    (1605.08803), section 4.1; a as in Papamakarios et al., Masked autoregressive flow, 2017
    (1705.07057), section 4.3, for MNIST.

    Example:

    >>> import numpy as np
    >>> from tfgen.models.glow.preprocessing import LogitPreprocessing
    >>> v, log_det = LogitPreprocessing.forward(np.zeros((1, 2, 2, 1), "float32"))
    >>> float(v[0, 0, 0, 0]), round(float(log_det[0]), 4)
    (0.0, 5.5452)
    """

    @staticmethod
    def forward(y):
        """v and log |det dv/dy|: `[N, H, W, C] -> [N, H, W, C], [N]`."""
        wide = 1.0 - 2.0 * SMALLEST
        log_p = tf.math.log(SMALLEST + wide * (0.5 + y))
        log_q = tf.math.log(SMALLEST + wide * (0.5 - y))
        log_slope = math.log(wide) - log_p - log_q
        return log_p - log_q, tf.reduce_sum(log_slope, axis=[1, 2, 3])

    @staticmethod
    def inverse(v):
        """y of v: `[N, H, W, C] -> [N, H, W, C]`."""
        return (tf.sigmoid(v) - SMALLEST) / (1.0 - 2.0 * SMALLEST) - 0.5


PREPROCESSINGS = {"linear": LinearPreprocessing, "logit": LogitPreprocessing}
