"""Gradient accumulation: one update from the mean gradient of several steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfgen.optimizers import gradients
from tfgen.optimizers.state import tf_variable

if TYPE_CHECKING:
    from tfgen.optimizers.base import AdaptiveOptimizer


def step(
    optimizer: AdaptiveOptimizer,
    grads: Sequence[gradients.Gradient],
    variables: Sequence[tf.Variable],
    update: Callable[[list[tf.Tensor], Sequence[tf.Variable]], Any],
) -> None:
    """Take one of `optimizer.gradient_accumulation_steps` steps, on one device.

    The first step overwrites the sums, the others add to them, and the last calls
    `update(mean gradients, variables)`. The gradients must already be summed over the
    replicas, so that no step depends on another device.
    """
    steps = optimizer.gradient_accumulation_steps
    sums = [tf_variable(total) for total in optimizer._accumulated_gradients]
    shares = {}
    for gradient, variable in zip(grads, variables, strict=True):
        index = optimizer._get_variable_index(variable)
        share = gradients.divide(gradients.dense(gradient, variable.shape), steps)
        shares[index] = tf.cast(share, sums[index].dtype)

    def start():
        for index, total in enumerate(sums):
            total.assign(shares.get(index, tf.zeros(total.shape, total.dtype)))
        return 0

    def add():
        for index, share in shares.items():
            sums[index].assign_add(share)
        return 0

    def finish():
        update([tf.convert_to_tensor(sums[index]) for index in shares], variables)
        return 0

    taken = tf.convert_to_tensor(optimizer._iterations)
    tf.cond(taken % steps == 0, start, add)
    tf.cond((taken + 1) % steps == 0, finish, lambda: 0)
