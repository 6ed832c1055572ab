"""What TensorFlow's fused kernels can do for a variable, and when they cannot be used.

A fused kernel updates variables in place, without a temporary. Each function names the variables
as arguments; the caller has made sure of `fused`.
"""

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def in_xla():
    """Whether the graph being built will be compiled by XLA, which fuses plain operations."""
    if tf.executing_eagerly():
        return False
    graph = tf.compat.v1.get_default_graph()
    return control_flow_util.GraphOrParentsInXlaContext(graph)


def fused(variable, slot):
    """Whether the kernels take `variable` together with `slot`: one dtype, and no XLA."""
    return variable.dtype == slot.dtype and not in_xla()


def rounded(value, dtype):
    """`value` as a variable of `dtype` would hold it.

    1 - 0.999 loses five digits in float32. A decay rate β is therefore used, and its bias
    corrected, with the one value that the kernels see.
    """
    return float(np.asarray(value, tf.as_dtype(dtype).as_numpy_dtype))


def scalar(value, dtype):
    """A number or float64 tensor as a scalar tensor of `dtype`, rounded only once.

    `tf.cast` makes a float32 of a Python number first.
    """
    if isinstance(value, float):
        return tf.constant(value, dtype)
    return tf.cast(value, dtype)


def smallest(dtype):
    """The least ε that keeps 0 / (0 + ε) from being NaN: the smallest normal number of `dtype`.

    A denominator above 2²⁵ times that (4e-31 in float32) is the same number with it as without.
    """
    return float(np.finfo(tf.as_dtype(dtype).as_numpy_dtype).tiny)


def representable(keep, dtype):
    """The number nearest to `keep` whose inverse is a number of `dtype`."""
    return 1 / rounded(1 / keep, dtype)


def average_in_place(average, value, keep, restart=False):
    """average ← keep·average + (1 - keep)·value; if `restart`, average ← average + value.

    `keep` is a `representable` number in (0, 1]; `restart` may be a tensor.

    The kernel of proximal gradient descent computes (x - α·y) / (1 + α·l₂). With α = 1 - 1/keep
    and l₂ = -1 that is the average, in one pass.
    """
    dtype = average.dtype
    value = tf.cast(value, dtype)
    gain = tf.where(restart, tf.ones([], dtype), scalar(1 / keep - 1, dtype))
    shrink = tf.where(restart, tf.zeros([], dtype), tf.ones([], dtype))
    if "GPU" in average.device or in_xla():  # the kernel exists for the CPU only
        average.assign((average + gain * value) / (1 + gain * shrink))
        return
    tf.raw_ops.ResourceApplyProximalGradientDescent(
        var=average.handle, alpha=-gain, l1=tf.zeros([], dtype), l2=-shrink, delta=value
    )
