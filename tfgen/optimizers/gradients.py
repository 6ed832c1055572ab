"""Gradients, dense or sparse: sum, scale and clip them.

A `tf.IndexedSlices` may name a row more than once; it stands for the sum of that row's slices.
"""

import tensorflow as tf


def is_sparse(gradient):
    return isinstance(gradient, tf.IndexedSlices)


def coalesce(gradient):
    """The same gradient with each row named once; a dense one as it is.

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
    rows, place = tf.unique(gradient.indices)
    sums = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
    return tf.IndexedSlices(sums, rows, gradient.dense_shape)


def dense(gradient, shape):
    """The gradient as one tensor of `shape`."""
    if not is_sparse(gradient):
        return tf.convert_to_tensor(gradient)
    summed = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, shape[0])
    return tf.ensure_shape(summed, shape)


def map_values(function, gradient):
    """The gradient with `function` applied to its values, of the same kind as before."""
    if not is_sparse(gradient):
        return function(tf.convert_to_tensor(gradient))
    return tf.IndexedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)


def divide(gradient, divisor):
    return map_values(lambda values: values / divisor, gradient)


def clip(gradients, *, norm=None, value=None, global_norm=None):
    """Clip coalesced gradients: each to a norm, each element to ±value, or all to one norm.

    At most one of the three is given. A norm that is not finite makes every clipped gradient NaN
    for `global_norm`, as in Keras.
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
    return gradients


def _sum_of_squares(values):
    if values.dtype.size < 4:
        values = tf.cast(values, tf.float32)
    return tf.cast(tf.reduce_sum(tf.square(values)), tf.float64)
