"""The batches of a training, from any step on and for any part of the replicas."""

import dataclasses

import tensorflow as tf

from tfgen.data.augmentation import Augmentation

_ORDER, _AUGMENTATION = 0x6F72, 0x6175  # keep the two random streams of a seed apart


@dataclasses.dataclass(frozen=True)
class Stream:
    """A split, epoch after epoch, as the batches of consecutive steps.

    Epoch e takes each image exactly once, in an order that is a function of (seed, e); its last
    batch holds what is left over. A global batch of b images is cut into pieces of ceil(b / R)
    rows for R replicas, the last ones smaller or empty. So what a replica sees at a step depends
    on nothing that came before, and a resumed training sees the same images as one that was never
    interrupted.

    `tfgen.data.Dataset.stream` makes it.

    Attributes:
        steps_per_epoch: batches in an epoch.
        batch_size: images in a global batch.
        count: images in the split.
    """

    count: int
    batch_size: int
    seed: int
    shuffle: bool
    augmentation: Augmentation
    _source: object = dataclasses.field(repr=False)

    @property
    def steps_per_epoch(self):
        return -(-self.count // self.batch_size)

    def from_step(self, step=0, *, replicas=1, first_replica=0, local_replicas=None):
        """The batches from a step on, without end.

        Args:
            step: counted over all epochs, from 0.
            replicas: R, over all workers.
            first_replica: the first one of this worker.
            local_replicas: replicas of this worker, by default all; their pieces of a global batch
                come one after the other.

        Returns:
            A `tf.data.Dataset` of uint8 `[b, H, W, C]`, or (images, labels).

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

        @tf.autograph.experimental.do_not_convert  # Nothing in it needs that, and it takes long.
        def of_epoch(epoch):
            skipped = tf.where(epoch == first_epoch, tf.constant(first_batch, tf.int64), 0)
            return self._epoch(epoch, skipped, replicas, first_replica, local_replicas)

        epochs = tf.data.Dataset.counter(first_epoch)
        with tf.device("CPU:0"):
            batches = epochs.flat_map(of_epoch)
            # Or else several replicas would ask each other at each step whether it is the last.
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            return batches.apply(endless).prefetch(tf.data.AUTOTUNE).with_options(_one_prefetch())

    def global_batch(self, step):
        """The whole batch of a step: as an element of `from_step` for one replica."""
        return next(iter(self.from_step(step).take(1)))

    def _epoch(self, epoch, skipped, replicas, first_replica, local_replicas):
        seed = tf.stack([tf.constant(self.seed, tf.int64), epoch])
        draws = None
        if self.augmentation:
            folded = tf.random.experimental.stateless_fold_in(seed, _AUGMENTATION)
            draws = self.augmentation.draws(self.count, folded)

        def piece(index):
            """Which rows of the epoch the index-th piece of this worker holds."""
            batch, replica = index // local_replicas, first_replica + index % local_replicas
            start = batch * self.batch_size
            stop = tf.minimum(start + self.batch_size, self.count)
            each = -(-(stop - start) // replicas)
            first = tf.minimum(start + replica * each, stop)
            return first, tf.minimum(first + each, stop)

        def augmented(images, labels, first, stop):
            if draws is not None:
                images = self.augmentation.apply(images, draws[first:stop])
            return images if labels is None else (images, labels)

        pieces = tf.data.Dataset.range(
            skipped * local_replicas, self.steps_per_epoch * local_replicas
        ).map(piece)
        order_seed = tf.random.experimental.stateless_fold_in(seed, _ORDER)
        return self._source(
            pieces, order_seed if self.shuffle else None, skipped, augmented, local_replicas
        )


def _one_prefetch():
    """TensorFlow adds further buffers of its own, which take a third of a small batch's time."""
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    return options


def in_memory(examples, count):
    """A source of examples that lie in memory: a dict of arrays, `image` and perhaps `labels`.

    A perfect shuffle; no image is read that is not used.
    """
    with tf.device("CPU:0"):
        images = tf.constant(examples["image"])
        labels = _each(tf.constant, examples.get("labels"))

    def source(pieces, seed, skipped, augmented, local_replicas):
        del skipped, local_replicas
        order = tf.range(count, dtype=tf.int64)
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, seed)

        def read(first, stop):
            rows = order[first:stop]
            own = _each(lambda values: tf.gather(values, rows), labels)
            return augmented(tf.gather(images, rows), own, first, stop)

        return pieces.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return source


def from_files(batches, batch_size, image_shape, labels_of):
    """A source that reads the records of every batch, and keeps the worker's own rows of it.

    Args:
        batches: a function of a seed, a scalar int64 tensor or None for the fixed order, to a
            `tf.data.Dataset` of global batches: dicts of arrays.
        batch_size: images in a global batch.
        image_shape: (H, W, C).
        labels_of: from the dict to the labels, or to None.
    """

    def source(pieces, seed, skipped, augmented, local_replicas):
        # Of the function that this is traced into: tf.data mixes it into its own seeds.
        tf.random.set_seed(1)
        whole = batches(None if seed is None else tf.cast(seed[0], tf.int64)).skip(skipped)
        bounds = pieces.batch(local_replicas)

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
                lambda images, first, stop, labels=None: augmented(images, labels, first, stop),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
        )

    return source


def _each(function, labels):
    return None if labels is None else tf.nest.map_structure(function, labels)
