"""`Stream`: the batches of a split, from any step and for any subset of the replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen.data.augmentation import Augmentation

_ORDER, _AUGMENTATION = 0x6F72, 0x6175  # keep the two random streams of a seed apart

Labels = Any  # a tensor [N], a dict of such tensors, or None

# A function from the bounds of consecutive pieces of an epoch to their images. Arguments: a dataset
# of (first, stop); the seed of the order, or None for the fixed order; the number of batches
# skipped at the beginning of the epoch; a function of (images, labels, first, stop) that returns
# the element; the number of pieces per batch.
Source = Callable[
    [tf.data.Dataset, tf.Tensor | None, tf.Tensor | int, Callable[..., Any], int], tf.data.Dataset
]


@dataclasses.dataclass(frozen=True)
class Stream:
    """The batches of a split, epoch after epoch; `tfgen.data.Dataset.stream` creates it.

    Epoch e takes each image exactly once, in an order that is a function of (seed, e); its last
    batch is smaller if the batch size does not divide the number of images. A global batch of b
    images is divided into pieces of ceil(b / R) rows for R replicas; the last pieces are smaller or
    empty. What a replica receives at a step is independent of earlier steps, so a resumed training
    run sees the same images as an uninterrupted one.

    Attributes:
        count: number of images in the split.
        batch_size: number of images in a global batch.
        seed: seed of the order of each epoch and of the augmentation.
        shuffle: whether to shuffle each epoch.
        augmentation: random transformations of the images.
    """

    count: int
    batch_size: int
    seed: int
    shuffle: bool
    augmentation: Augmentation
    _source: Source = dataclasses.field(repr=False)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches per epoch."""
        return -(-self.count // self.batch_size)

    def from_step(
        self,
        step: int = 0,
        *,
        replicas: int = 1,
        first_replica: int = 0,
        local_replicas: int | None = None,
    ) -> tf.data.Dataset:
        """An endless dataset of the batches from a step on.

        Args:
            step: counted over all epochs, from 0.
            replicas: number of replicas R of all workers.
            first_replica: index of this worker's first replica.
            local_replicas: number of this worker's replicas; None for all. Their pieces of a global
                batch are consecutive elements.

        Returns:
            A dataset of uint8 `[b, H, W, C]`, or (images, labels).

        Example:

        >>> import tfgen
        >>> stream = tfgen.data.load("digits").stream("train", batch_size=1000, seed=0)
        >>> [len(batch) for batch in stream.from_step().take(3)]
        [1000, 437, 1000]
        >>> [len(batch) for batch in stream.from_step(1, replicas=2).take(2)]
        [219, 218]
        """
        local_replicas = local_replicas or replicas
        first_epoch, first_batch = divmod(step, self.steps_per_epoch)

        @tf.autograph.experimental.do_not_convert  # Nothing to convert, and converting is slow.
        def of_epoch(epoch):
            skipped = tf.where(epoch == first_epoch, tf.constant(first_batch, tf.int64), 0)
            return self._epoch(epoch, skipped, replicas, first_replica, local_replicas)

        epochs = tf.data.Dataset.counter(first_epoch)
        with tf.device("CPU:0"):
            batches = epochs.flat_map(of_epoch)
            # Otherwise replicas would ask each other at each step whether the data has ended.
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            return batches.apply(endless).prefetch(tf.data.AUTOTUNE).with_options(_one_prefetch())

    def global_batch(self, step: int) -> Any:
        """The whole batch of a step: an element of `from_step(step)`."""
        return next(iter(self.from_step(step).take(1)))

    def one_epoch(self, *, drop_remainder: bool = False) -> tf.data.Dataset:
        """One epoch as a finite dataset; each pass over it draws another epoch.

        Args:
            drop_remainder: whether to omit a smaller last batch, so that the batch size is static.

        Example:

        >>> import tfgen
        >>> stream = tfgen.data.load("digits").stream("train", batch_size=1000, seed=0)
        >>> [len(batch) for batch in stream.one_epoch()]
        [1000, 437]
        """

        @tf.autograph.experimental.do_not_convert
        def of_epoch(epoch):
            return self._epoch(epoch, 0, 1, 0, 1)

        def static(tensor):
            return tf.ensure_shape(tensor, [self.batch_size, *tensor.shape[1:]])

        epochs = tf.data.Dataset.random(self.seed, rerandomize_each_iteration=True).take(1)
        with tf.device("CPU:0"):
            batches = epochs.flat_map(of_epoch)
            batches = batches.apply(tf.data.experimental.assert_cardinality(self.steps_per_epoch))
            if drop_remainder:
                batches = batches.take(self.count // self.batch_size)
                batches = batches.map(lambda *batch: _each(static, _unpacked(batch)))
            return batches.prefetch(tf.data.AUTOTUNE)

    def _epoch(self, epoch, skipped, replicas, first_replica, local_replicas):
        seed = tf.stack([tf.constant(self.seed, tf.int64), epoch])
        transforms = None
        if self.augmentation:
            folded = tf.random.experimental.stateless_fold_in(seed, _AUGMENTATION)
            transforms = self.augmentation.draw(self.count, folded)

        def bounds(index):
            """The rows of the epoch in this worker's piece with this index."""
            batch, replica = index // local_replicas, first_replica + index % local_replicas
            start = batch * self.batch_size
            stop = tf.minimum(start + self.batch_size, self.count)
            each = -(-(stop - start) // replicas)
            first = tf.minimum(start + replica * each, stop)
            return first, tf.minimum(first + each, stop)

        def element(images, labels, first, stop):
            if transforms is not None:
                images = self.augmentation.apply(images, transforms[first:stop])
            return images if labels is None else (images, labels)

        pieces = tf.data.Dataset.range(
            skipped * local_replicas, self.steps_per_epoch * local_replicas
        ).map(bounds)
        order_seed = tf.random.experimental.stateless_fold_in(seed, _ORDER)
        return self._source(
            pieces, order_seed if self.shuffle else None, skipped, element, local_replicas
        )


def _one_prefetch() -> tf.data.Options:
    """Omits TensorFlow's additional buffer, which takes a third of the time of a small batch."""
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    return options


def in_memory(images: np.ndarray, labels: Labels = None) -> Source:
    """A source of images that are held in memory and shuffled perfectly.

    Args:
        images: uint8 `[N, H, W, C]`.
        labels: `[N]`, a dict of such arrays, or None.
    """
    with tf.device("CPU:0"):  # A GPU would hold the split, and return it batch by batch.
        images, labels = tf.constant(images), _each(tf.constant, labels)

    def source(pieces, seed, skipped, element, pieces_per_batch):
        del skipped, pieces_per_batch
        order = tf.range(len(images), dtype=tf.int64)
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, seed)

        def read(first, stop):
            rows = order[first:stop]
            own = _each(lambda values: tf.gather(values, rows), labels)
            return element(tf.gather(images, rows), own, first, stop)

        return pieces.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return source


def from_files(
    batches: Callable[[tf.Tensor | None], tf.data.Dataset],
    batch_size: int,
    image_shape: tuple[int, ...],
    labels_of: Callable[[dict[str, tf.Tensor]], Labels],
) -> Source:
    """A source of records that are read in batches, of which each worker keeps its own rows.

    Args:
        batches: a function from the seed of the order (None for the fixed order) to a dataset of
            global batches, dicts of tensors.
        batch_size: images per global batch.
        image_shape: (H, W, C).
        labels_of: a function from a batch to its labels, or to None.
    """

    def source(pieces, seed, skipped, element, pieces_per_batch):
        # The seed of the graph that is being traced; tf.data combines it with its own seeds.
        tf.random.set_seed(1)
        whole = batches(None if seed is None else tf.cast(seed[0], tf.int64)).skip(skipped)
        bounds = pieces.batch(pieces_per_batch)

        def cut(batch, bounds):
            def own(first, stop):
                low = first % batch_size
                rows = slice(low, low + stop - first)
                images = tf.ensure_shape(batch["image"][rows], [None, *image_shape])
                labels = _each(lambda values: values[rows], labels_of(batch))
                return (images, first, stop) if labels is None else (images, first, stop, labels)

            return tf.data.Dataset.from_tensor_slices(bounds).map(own)

        return (
            tf.data.Dataset.zip(whole, bounds)
            .flat_map(cut)
            .map(
                lambda images, first, stop, labels=None: element(images, labels, first, stop),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
        )

    return source


def _each(function, labels):
    return None if labels is None else tf.nest.map_structure(function, labels)


def _unpacked(batch):
    return batch[0] if len(batch) == 1 else batch
