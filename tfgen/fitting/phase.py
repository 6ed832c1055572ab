"""The phase of Keras layers (training or inference), and the losses that they add."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

_collector = threading.local()


def run_in_phase(
    owner: keras.Layer, function: Callable[[tf.Tensor], Any], inputs: tf.Tensor, training: bool
) -> tuple[Any, tf.Tensor | None]:
    """Call a function as Keras calls the `call` method of `owner`, and return its losses.

    Within the function, every Keras layer without an explicit `training` argument runs in the given
    phase, also below bijectors, so that Dropout and BatchNormalization do what they do in
    `keras.Model.fit`. The losses are those of `owner.losses`: regularizers of weights, activity
    regularizers and `add_loss`.

    Args:
        owner: a layer or model that tracks all layers that the function calls.
        function: a function of tensors, for example of a loss.
        inputs: its argument.
        training: the phase.

    Returns:
        The results of the function, and the sum of the losses, a scalar; None without losses.

    Example:

    >>> import keras, tensorflow as tf
    >>> from tfgen.fitting.phase import run_in_phase
    >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5, seed=0)])
    >>> dropped, losses = run_in_phase(network, network, tf.ones([4, 2]), training=True)
    >>> bool(tf.reduce_all((dropped == 0.0) | (dropped == 2.0))), losses
    (True, None)
    """
    call = PhasedCall(owner, function)
    outputs = call(inputs, training=training)
    losses = [tf.cast(tf.reduce_sum(loss), tf.float32) for loss in call.losses]
    return outputs, tf.add_n(losses) if losses else None


def phase() -> bool | None:
    """The `training` argument of the enclosing call of a Keras layer; None outside of one.

    Example:

    >>> import keras, tensorflow as tf
    >>> from tfgen.fitting.phase import phase, run_in_phase
    >>> network = keras.layers.Dense(1)
    >>> phase(), run_in_phase(network, lambda x: phase(), tf.zeros([]), training=True)[0]
    (None, True)
    """
    return _PROBE()


@contextlib.contextmanager
def collected_losses() -> Iterator[list[tf.Tensor]]:
    """Within the context, `add_losses` appends to the list that the context manager returns."""
    outer = getattr(_collector, "losses", None)
    collected: list[tf.Tensor] = []
    _collector.losses = collected
    try:
        yield collected
    finally:
        _collector.losses = outer


def add_losses(losses: Iterable[tf.Tensor]) -> None:
    """Add losses that layers added inside of another graph, whose results they are.

    A tensor in `layer.losses` is of no use outside of the graph in which the layer was called.
    Graphs therefore return their losses, and this function hands them on to `run_in_phase` or to
    the `FlowLayer` that encloses the call.
    """
    collected = getattr(_collector, "losses", None)
    if collected is not None:
        collected.extend(losses)


def with_losses_returned(
    owner: keras.Layer, function: Callable[[], Any], updates: bool = True
) -> tuple[Any, list[tf.Tensor]]:
    """Call a function in a branch of a graph, and return the losses that layers added in it.

    Args:
        owner: a layer or model that tracks all layers that the function calls.
        function: the function.
        updates: whether changes of state, such as those of BatchNormalization, take effect.
    """
    with keras.StatelessScope(collect_losses=True) as scope, collected_losses() as traced:
        results = function()
    if updates:
        for variable in owner.variables:
            value = scope.get_current_value(variable)
            if value is not None:
                variable.assign(value)
    return results, [*scope.losses, *traced]


class PhasedCall(keras.layers.Layer):
    """A call of a function as if it were the `call` method of a layer.

    Args:
        owner, function: as for `run_in_phase`.
    """

    def __init__(self, owner: keras.Layer, function: Callable[[tf.Tensor], Any]) -> None:
        # float32 and no autocast: each layer inside has a policy of its own.
        super().__init__(dtype="float32", autocast=False, name="call")
        self.owner = owner  # Keras now finds the losses of the owner's layers, and clears them.
        self._function = function
        self.built = True

    def call(self, inputs: tf.Tensor) -> Any:
        with collected_losses() as collected:
            outputs = self._function(inputs)
        if collected:
            self.add_loss(collected)
        return outputs


class _Probe(keras.layers.Layer):
    """Returns the `training` argument that Keras hands to a layer."""

    def __init__(self):
        super().__init__(dtype="float32", autocast=False, name="phase")
        self.built = True

    def call(self, training=None):
        return training


_PROBE = _Probe()
