"""Functions that stay accurate at both ends of the float range, also in TFLite.

TFLite computes `softplus` as `log(exp(x) + 1)`, which overflows at 89, and computes `log_sigmoid`
from it. The functions here use operations whose results are the same in every runtime.
"""

from __future__ import annotations

import math

import tensorflow as tf
from numpy.typing import ArrayLike


def softplus(x: tf.Tensor | ArrayLike) -> tf.Tensor:
    """log(1 + exp(x)) without overflow.

    Equation: softplus(x) = (x + |x|) / 2 + log(1 + exp(-|x|)). With |x| instead of a maximum, its
    derivative at exactly 0, where zero-initialized networks start, is 1/2.

    Shapes: `[...] -> [...]`.

    Example:

    >>> from tfgen.numerics import softplus
    >>> print(softplus([-200.0, 0.0, 200.0]).numpy())
    [  0.          0.6931472 200.       ]
    """
    x = tf.convert_to_tensor(x)
    magnitude = tf.abs(x)
    return 0.5 * (x + magnitude) + tf.math.log1p(tf.exp(-magnitude))


def log_sigmoid(x: tf.Tensor | ArrayLike) -> tf.Tensor:
    """log(1 / (1 + exp(-x))) without underflow.

    Equation: log_sigmoid(x) = -softplus(-x).

    Shapes: `[...] -> [...]`.

    Example:

    >>> from tfgen.numerics import log_sigmoid
    >>> print(log_sigmoid([-200.0, 0.0, 200.0]).numpy())
    [-200.          -0.6931472   -0.       ]
    """
    return -softplus(-tf.convert_to_tensor(x))


def sum_over_event(x: tf.Tensor) -> tf.Tensor:
    """The sum of each row, whose rounding error hardly grows with the number of values.

    A runtime may add D numbers one after the other, as TFLite does, with a rounding error of up to
    D times half a unit in the last place. Here they are added in about sqrt(D) groups.

    Shapes: `[N, ...] -> [N]`; all sizes but N are known.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.numerics import sum_over_event
    >>> print(sum_over_event(tf.ones([2, 4, 4, 3])).numpy())
    [48. 48.]
    """
    size = math.prod(x.shape[1:])
    group = max(n for n in range(1, math.isqrt(size) + 1) if size % n == 0)
    return tf.reduce_sum(tf.reduce_sum(tf.reshape(x, [-1, size // group, group]), -1), -1)


def bernoulli_log_prob(values: tf.Tensor | ArrayLike, logits: tf.Tensor | ArrayLike) -> tf.Tensor:
    """The log-probability of bits b given logits l, with few passes over memory.

    Equations: log p(b) = sum(b l - softplus(l)) over the last axis, with
    softplus(l) = max(l, 0) + log(1 + exp(-|l|)). A sum of logarithms of numbers between 1 and 2 is
    computed as the logarithm of their product, in groups whose product cannot overflow.

    Shapes: b and l `[..., D] -> [...]`, in nats. No gradient flows to b.

    Example:

    >>> from tfgen.numerics import bernoulli_log_prob
    >>> print(bernoulli_log_prob([1.0, 0.0], [0.0, -200.0]).numpy())
    -0.6931472
    """
    logits = tf.convert_to_tensor(logits)
    values = tf.stop_gradient(tf.convert_to_tensor(values, logits.dtype))
    return _bernoulli_log_prob(values, logits)


@tf.custom_gradient
def _bernoulli_log_prob(values, logits):
    size = logits.shape[-1]
    factors = 1.0 + tf.exp(-tf.abs(logits))
    groups = tf.concat([tf.shape(logits)[:-1], [-1, _group(size)]], axis=0)
    logarithms = tf.math.log(tf.reduce_prod(tf.reshape(factors, groups), axis=-1))
    rest = tf.reduce_sum(values * logits - tf.nn.relu(logits), axis=-1)

    def gradient(of_sum):
        return None, of_sum[..., None] * (values - tf.sigmoid(logits))

    return rest - tf.reduce_sum(logarithms, axis=-1), gradient


def _group(size):
    """The largest divisor of `size` up to 64: a product of 64 numbers up to 2 is finite."""
    return max(n for n in range(1, 65) if size % n == 0)
