"""Keras callbacks in a training loop, with additional events for records and checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from tfgen.training.loop import Loop

Record = dict[str, Any]


class LoopCallback(keras.callbacks.Callback):
    """A Keras callback that is also notified of records and checkpoints.

    Attributes:
        loop: the `tfgen.training.loop.Loop` that calls it.
    """

    loop: Loop

    def on_record(self, record: Record) -> None:
        """A record was added to the history: at the end of an epoch, or within a long one."""

    def on_save(self) -> None:
        """A checkpoint was written."""

    def on_save_error(self, error: OSError) -> None:
        """A checkpoint could not be written; training continues and tries again later."""


class CallbackList(keras.callbacks.CallbackList):
    """Keras' list of callbacks, with the events of `LoopCallback`.

    Args:
        callbacks: Keras callbacks, `LoopCallback`s among them.
        loop: the loop that calls them.
    """

    def __init__(self, callbacks: Iterable[keras.callbacks.Callback], loop: Loop) -> None:
        callbacks = list(callbacks)
        self._own = [one for one in callbacks if isinstance(one, LoopCallback)]
        for callback in self._own:
            callback.loop = loop
        steps = loop.stream.steps_per_epoch
        epochs = -(-loop.total_steps // steps)
        super().__init__(callbacks, model=loop.model, epochs=epochs, steps=steps, verbose=0)

    def on_record(self, record: Record) -> None:
        for callback in self._own:
            callback.on_record(record)

    def on_save(self) -> None:
        for callback in self._own:
            callback.on_save()

    def on_save_error(self, error: OSError) -> None:
        for callback in self._own:
            callback.on_save_error(error)
