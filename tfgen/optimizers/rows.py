"""The step of a variable whose gradient contains only some of its rows."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

BLOCK = 2**15  # weights updated at a time: few enough for the cache

Rule = Callable[[list[tf.Tensor], tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]


def step(
    rule: Rule,
    variable: tf.Variable,
    slots: list[tf.Variable],
    gradient: tf.IndexedSlices,
    decay: tf.Tensor | None = None,
    *,
    lazy: bool = False,
) -> None:
    """Update `variable` and its `slots` in place from a coalesced sparse gradient.

    Unless `lazy`, every other row takes the step of a zero gradient, block by block: the result is
    that of the dense gradient, and no temporary has the size of the variable.

    Args:
        rule: (slots, gradient) -> (new slots, tensor to subtract from the weights).
        variable: the weights, [rows, ...].
        slots: list of slot variables, each [rows, ...].
        gradient: a sparse gradient that names each row at most once.
        decay: the share of the weights to subtract, or None.
        lazy: leave the rows without a gradient unchanged.
    """
    targets = [variable, *slots]
    dtype = slots[0].dtype

    def stepped(rows, values):
        weights, *old = [tf.gather(target, rows) for target in targets]
        new, descent = rule(old, values)
        weights = tf.cast(weights, dtype)
        if decay is not None:
            descent += tf.cast(decay, dtype) * weights
        return [weights - descent, *new]

    def store(rows, values):
        for target, value in zip(targets, values, strict=True):
            target.scatter_update(tf.IndexedSlices(tf.cast(value, target.dtype), rows))

    present = stepped(gradient.indices, tf.cast(gradient.values, dtype))
    if not lazy:
        zero = tf.zeros([], dtype)
        _for_each_block(variable.shape, lambda rows: store(rows, stepped(rows, zero)))
    store(gradient.indices, present)


def _for_each_block(shape, function):
    """Call `function` with the row numbers of one block of rows after another."""
    count = shape[0]
    height = max(1, BLOCK // max(1, shape[1:].num_elements()))

    def body(start):
        function(tf.range(start, tf.minimum(start + height, count)))
        return (start + height,)

    tf.while_loop(lambda start: start < count, body, (tf.constant(0),), parallel_iterations=1)
