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
