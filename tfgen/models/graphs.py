"""The compiled graphs of a model, and batches in chunks of bounded memory."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

LARGEST_CHUNK = 256  # images
NUMBERS_AT_A_TIME = 2**21  # pixels, times the samples per image


class Graphs:
    """A cache of `tf.function`s: one per function, set of inputs and options.

    The first axis of each input of `batch` has an unknown size, so that a function is traced only
    once.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple, Callable] = {}

    def get(
        self,
        function: Callable,
        batch: dict[str, tf.Tensor],
        others: dict[str, tf.Tensor],
        options: dict[str, Any],
    ) -> Callable:
        """The graph of `function(**batch, **others, **options)`, which takes a list of tensors.

        Args:
            function: a function of tensors and hashable options.
            batch: its inputs with a batch axis of images or latents.
            others: its inputs without a batch axis.
            options: its options, which become constants of the graph.
        """
        names = (*batch, *others)
        key = (function.__name__, names, tuple(options.items()))
        if key not in self._graphs:
            specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in batch.values()]
            specs += [tf.TensorSpec(x.shape, x.dtype) for x in others.values()]
            # TensorFlow counts the traces of a plain function by its code, which all graphs share,
            # and would warn about retracing. A partial function avoids this.
            graph = functools.partial(_call, function, names, options)
            self._graphs[key] = tf.function(graph, input_signature=[specs], autograph=False)
        return self._graphs[key]

    def forget(self) -> None:
        """Drop all graphs, as they may read results that were precomputed from the weights."""
        self._graphs.clear()


def _call(function, names, options, values):
    # Losses that layers add in this graph are of no use outside of it.
    with keras.StatelessScope():
        return function(**dict(zip(names, values, strict=True)), **options)


def in_chunks(
    function: Callable[..., tf.Tensor], batches: Sequence[tf.Tensor], numbers_per_image: int
) -> tf.Tensor:
    """function(*batches), computed for a limited number of rows at a time."""
    count = len(batches[0])
    if count == 0:
        return function(*(tf.zeros([1, *b.shape[1:]], b.dtype) for b in batches))[:0]
    rows = max(1, min(LARGEST_CHUNK, NUMBERS_AT_A_TIME // numbers_per_image))
    starts = range(0, count, rows)
    return tf.concat([function(*(b[i : i + rows] for b in batches)) for i in starts], axis=0)
