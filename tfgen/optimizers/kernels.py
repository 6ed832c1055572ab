"""TensorFlow's fused kernels: when they can be used, and numbers in their precision.

A fused kernel updates variables in place, without a temporary.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def in_xla() -> bool:
    """Whether XLA, which fuses plain operations, will compile the graph being built."""
    if tf.executing_eagerly():
        return False
    graph = tf.compat.v1.get_default_graph()
    return control_flow_util.GraphOrParentsInXlaContext(graph)


def has_fused_kernel(variable: tf.Variable, slot: tf.Variable) -> bool:
    """Whether a fused kernel can update `variable` and `slot`: the same dtype, and no XLA."""
    return variable.dtype == slot.dtype and not in_xla()


def rounded(value: float, dtype: tf.DType) -> float:
    """`value` rounded to `dtype`.

    1 - 0.999 loses five digits in float32. A decay rate β must therefore have the same value in
    the bias correction as in the kernels.
    """
    return float(np.asarray(value, tf.as_dtype(dtype).as_numpy_dtype))


def scalar(value: float | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """A number or float64 tensor as a scalar tensor of `dtype`, rounded only once.

    `tf.cast` would convert a Python number to float32 first.
    """
    if isinstance(value, float):
        return tf.constant(value, dtype)
    return tf.cast(value, dtype)


def smallest_normal(dtype: tf.DType) -> float:
    """The smallest normal number of `dtype`: an ε with which 0 / (0 + ε) is 0 and not NaN.

    It does not change a denominator above 2²⁵ times ε (4e-31 in float32).
    """
    return float(np.finfo(tf.as_dtype(dtype).as_numpy_dtype).tiny)


def representable(keep: float, dtype: tf.DType) -> float:
    """The number nearest to `keep` whose inverse `dtype` represents exactly."""
    return 1 / rounded(1 / keep, dtype)


def average_in_place(
    average: tf.Variable,
    value: tf.Tensor | tf.Variable,
    keep: float,
    restart: tf.Tensor | bool = False,
) -> None:
    """average ← keep·average + (1 - keep)·value; if `restart`, average ← average + value.

    The kernel of proximal gradient descent computes (x - α·y) / (1 + α·l₂). With α = 1 - 1/keep
    and l₂ = -1 that is the average, in one pass.

    Args:
        average: the variable to update.
        value: a tensor of the same shape.
        keep: a `representable` number in (0, 1].
        restart: a boolean scalar.
    """
    dtype = average.dtype
    value = tf.cast(value, dtype)
    gain = tf.where(restart, tf.ones([], dtype), scalar(1 / keep - 1, dtype))
    shrink = tf.where(restart, tf.zeros([], dtype), tf.ones([], dtype))
    if "GPU" in average.device or in_xla():  # There is a kernel for the CPU only.
        average.assign((average + gain * value) / (1 + gain * shrink))
        return
    tf.raw_ops.ResourceApplyProximalGradientDescent(
        var=average.handle, alpha=-gain, l1=tf.zeros([], dtype), l2=-shrink, delta=value
    )
