"""Operations on gradients, dense or sparse: sum, scale and clip.

A `tf.IndexedSlices` may name a row more than once; the row's gradient is the sum of its slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices"


def is_sparse(gradient: Gradient) -> bool:
    """Whether the gradient is a `tf.IndexedSlices`."""
    return isinstance(gradient, tf.IndexedSlices)


def coalesce(gradient: Gradient) -> Gradient:
    """The same gradient with each row named once; a dense one unchanged.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.optimizers.gradients import coalesce
    >>> twice = tf.IndexedSlices(tf.constant([[1.0], [2.0], [3.0]]), tf.constant([4, 0, 4]))
    >>> once = coalesce(twice)
    >>> once.indices.numpy().tolist(), once.values.numpy().tolist()
    ([4, 0], [[4.0], [2.0]])
    """
    if not is_sparse(gradient):
        return gradient
    rows, segments = tf.unique(gradient.indices)
    sums = tf.math.unsorted_segment_sum(gradient.values, segments, tf.size(rows))
    return tf.IndexedSlices(sums, rows, gradient.dense_shape)


def dense(gradient: Gradient, shape: tf.TensorShape) -> tf.Tensor:
    """The gradient as one tensor of `shape`."""
    if not is_sparse(gradient):
        return tf.convert_to_tensor(gradient)
    summed = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, shape[0])
    return tf.ensure_shape(summed, shape)


def map_values(function: Callable[[tf.Tensor], tf.Tensor], gradient: Gradient) -> Gradient:
    """The gradient with `function` applied to its values; a sparse one stays sparse."""
    if not is_sparse(gradient):
        return function(tf.convert_to_tensor(gradient))
    return tf.IndexedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)


def divide(gradient: Gradient, divisor: float) -> Gradient:
    """The gradient divided by a number."""
    return map_values(lambda values: values / divisor, gradient)


def clip(
    gradients: Sequence[Gradient],
    *,
    norm: float | None = None,
    value: float | None = None,
    global_norm: float | None = None,
) -> list[Gradient]:
    """Clip coalesced gradients: each to a norm, each element to ±value, or all to one norm.

    At most one of the three is given. With `global_norm`, a norm that is not finite makes every
    clipped gradient NaN, as in Keras.
    """
    if norm:
        return [map_values(lambda g: tf.clip_by_norm(g, norm), gradient) for gradient in gradients]
    if value:
        return [
            map_values(lambda g: tf.clip_by_value(g, -value, value), gradient)
            for gradient in gradients
        ]
    if global_norm:
        values = [g.values if is_sparse(g) else g for g in gradients]
        length = tf.sqrt(tf.add_n([_sum_of_squares(v) for v in values]))
        factor = global_norm / tf.maximum(length, global_norm) + (length - length)
        return [map_values(lambda g: g * tf.cast(factor, g.dtype), g) for g in gradients]
    return list(gradients)


def _sum_of_squares(values):
    if values.dtype.size < 4:
        values = tf.cast(values, tf.float32)
    return tf.cast(tf.reduce_sum(tf.square(values)), tf.float64)
