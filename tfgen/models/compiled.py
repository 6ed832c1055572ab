"""The compiled graphs of a model: made on the first call, kept, and discarded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.bijectors.base import precomputed
from tfgen.errors import InputError
from tfgen.fitting.phase import phase
from tfgen.models.graphs import Graphs, in_chunks

if TYPE_CHECKING:
    from tfgen.models.base import GenerativeModel


class Compiled(keras.Model):
    """A Keras model that runs its verbs as graphs, each traced once.

    Graphs read the weights when they run, so that a change of weights, with `set_weights`,
    `load_weights` or `assign`, needs no new graph. What a graph is made of changes when a scope of
    `precomputed` opens and closes, which discards all graphs, those of Keras too. The graph of the
    training step also depends on which weights are trainable, and is traced again if these change.
    """

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name)
        self._graphs = Graphs()
        self._in_precomputed_scope = False
        self._trained_weights: list[int] = []  # ids of those in the graph of the training step

    @contextlib.contextmanager
    def precomputed(self: GenerativeModel) -> Iterator[list[tf.Variable]]:
        """A scope for exports in which results that depend only on weights are computed once.

        The context manager returns the `tf.Variable`s that hold the results. They become invalid
        when the weights change, so that in this scope `set_weights`, `load_weights` and training
        raise an `InputError`.
        """
        try:
            with precomputed(self.bijectors) as variables:
                self.forget_graphs()
                self._in_precomputed_scope = True
                yield variables
        finally:
            self._in_precomputed_scope = False
            self.forget_graphs()

    def forget_graphs(self) -> None:
        """Discard all compiled graphs: those of the verbs, and Keras' of `fit` and `predict`."""
        self._graphs.forget()
        self.train_function = self.test_function = self.predict_function = None

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        self._require_no_precomputed_scope("set_weights")
        super().set_weights(weights)

    def load_weights(self, filepath: Any, *args: Any, **options: Any) -> None:
        self._require_no_precomputed_scope("load_weights")
        super().load_weights(filepath, *args, **options)

    def make_train_function(self, force: bool = False) -> Callable[..., Any]:
        self._require_no_precomputed_scope("training")
        trainable = [id(weight) for weight in self.trainable_weights]
        changed, self._trained_weights = trainable != self._trained_weights, trainable
        return super().make_train_function(force or changed)

    def _require_no_precomputed_scope(self, what):
        if self._in_precomputed_scope:
            raise InputError(
                f"{self.name}: {what} would change weights of which results are precomputed; call "
                "it outside of the scope of precomputed()"
            )

    def _run(
        self: GenerativeModel,
        function: Callable[..., tf.Tensor],
        batch: dict[str, tf.Tensor],
        others: dict[str, tf.Tensor] | None = None,
        rows_per_image: int = 1,
        **options: Any,
    ) -> tf.Tensor:
        """Run `function(**batch, **others, **options)`, compiled and in chunks if called eagerly.

        Args:
            function: a function of tensors and options.
            batch: tensors with a batch axis, by name.
            others: tensors without a batch axis, by name.
            rows_per_image: number of rows in memory per image.
            options: hashable values, which become constants of the graph.
        """
        others = others or {}
        if not tf.executing_eagerly() or phase() is not None:
            return function(**batch, **others, **options)
        graph = self._graphs.get(function, batch, others, options)
        return in_chunks(
            lambda *rows: graph([*rows, *others.values()]),
            [*batch.values()],
            self.num_dims * rows_per_image,
        )
