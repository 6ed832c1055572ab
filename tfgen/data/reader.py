"""`Reader`: the examples of a stored data set, in batches."""

from __future__ import annotations

import abc

import tensorflow as tf


class Reader(abc.ABC):
    """Reads the examples of a stored data set; each format of records has a subclass.

    Attributes:
        label_keys: the names of the labels.
        class_names: for each label that is a class, the names of the classes.
        directory: directory of the files.
    """

    label_keys: list[str]
    class_names: dict[str, tuple[str, ...]]
    directory: str

    def batches(
        self,
        split: str,
        start: int,
        stop: int,
        batch_size: int,
        *,
        shuffle_buffer: int = 0,
        seed: tf.Tensor | None = None,
    ) -> tf.data.Dataset:
        """Batches of the examples [start, stop) of a split: dicts of `image` and the labels.

        Args:
            split: name of the stored split.
            start, stop: positions in the stored split.
            batch_size: examples per batch; the last batch may have fewer.
            shuffle_buffer: number of examples that are shuffled at a time; 0 for the fixed order.
            seed: seed of the shuffling.
        """
        records = self._records(split, start, stop, bool(shuffle_buffer), seed)
        if shuffle_buffer:
            records = records.shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=False)
        return self._parsed(records.batch(batch_size))

    @abc.abstractmethod
    def _records(
        self, split: str, start: int, stop: int, shuffle_files: bool, seed: tf.Tensor | None
    ) -> tf.data.Dataset:
        """The examples one by one; `_parsed` may still have to parse batches of them."""

    def _parsed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        return batches
