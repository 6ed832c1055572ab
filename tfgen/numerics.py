"""Elementwise functions written so that they stay exact at the ends of the float range.

TFLite lowers `softplus` to `log(exp(x) + 1)`, which overflows at 89, and `log_sigmoid` through it.
These forms consist of operations that every runtime computes alike.
"""

import tensorflow as tf


def softplus(x):
    """log(1 + exp(x)) without overflow.

    Equation: softplus(x) = (x + |x|) / 2 + log(1 + exp(-|x|)). Written with |x| rather than with a
    maximum, its derivative at exactly 0, where zero-initialised networks start, is 1/2.

    Shapes: `[...] -> [...]`.

    Example:

    >>> from tfgen.numerics import softplus
    >>> print(softplus([-200.0, 0.0, 200.0]).numpy())
    [  0.          0.6931472 200.       ]
    """
    x = tf.convert_to_tensor(x)
    magnitude = tf.abs(x)
    return 0.5 * (x + magnitude) + tf.math.log1p(tf.exp(-magnitude))


def log_sigmoid(x):
    """log(1 / (1 + exp(-x))) without underflow.

    Equation: log_sigmoid(x) = -softplus(-x).

    Shapes: `[...] -> [...]`.

    Example:

    >>> from tfgen.numerics import log_sigmoid
    >>> print(log_sigmoid([-200.0, 0.0, 200.0]).numpy())
    [-200.          -0.6931472   -0.       ]
    """
    return -softplus(-tf.convert_to_tensor(x))


def bernoulli_log_prob(values, logits):
    """sum(b l - softplus(l)) over the last axis, with few passes over memory.

    Equation: softplus(l) = max(l, 0) + log(1 + exp(-|l|)), and a sum of logarithms of numbers
    between 1 and 2 is the logarithm of their product, taken over groups that cannot overflow.

    Shapes: b and l `[..., D] -> [...]`, nats; b is taken as constant.

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
    """The largest divisor of `size` up to 64: a product of so many numbers below 2 is finite."""
    return max(n for n in range(1, 65) if size % n == 0)
