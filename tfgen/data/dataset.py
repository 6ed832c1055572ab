"""`Dataset`: images as uint8, whole splits in memory or as a tf.data pipeline."""

import dataclasses
import operator

import numpy as np
import tensorflow as tf

from tfgen.data import stream
from tfgen.data.augmentation import Augmentation
from tfgen.errors import InputError

_IN_MEMORY_BYTES = 2**29  # larger splits are streamed by `tf_data`
_READ_BATCH = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with fixed, disjoint splits, as `tfgen.data.load` opens it.

    Attributes:
        name: of the data set or the folder.
        image_shape: (H, W, C).
        num_classes: number of classes where the label is one class, else None.
        label_names: tuple of class names, by label; where there are several labels, a dict of such
            tuples for those which are classes; None: there are no classes.
        splits: number of images of each split: "train", perhaps "validation", and "test".
        provenance: JSON-able: source, builder version, options, how the splits were made, digests
            of the local files that were read, number of unreadable files.
        unreadable: (path, reason) of each file of a folder that could not be read.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int | None
    label_names: tuple[str, ...] | dict[str, tuple[str, ...]] | None
    splits: dict[str, int]
    provenance: dict
    unreadable: list[tuple[str, str]]
    _reader: object = dataclasses.field(repr=False)
    _label_key: str | None = dataclasses.field(repr=False)  # None: all that is no image
    _stored: dict = dataclasses.field(repr=False)  # split -> (stored split, start, stop)

    def images(self, split: str) -> np.ndarray:
        """All images of a split, in their fixed order: uint8 [N, H, W, C].

        Args:
            split: one of `splits`.

        Raises:
            InputError: there is no such split, or the prepared data is damaged.

        Example:

        >>> import tfgen
        >>> images = tfgen.data.load("digits").images("test")
        >>> images.shape, images.dtype
        ((360, 8, 8, 1), dtype('uint8'))
        """
        return self._arrays(split)["image"]

    def labels(self, split: str) -> np.ndarray | dict[str, np.ndarray] | None:
        """All labels of a split, in the order of `images`: [N], a dict of such, or None.

        Args:
            split: one of `splits`.

        Raises:
            InputError: there is no such split, or the prepared data is damaged.

        Example:

        >>> import numpy as np
        >>> import tfgen
        >>> np.bincount(tfgen.data.load("digits").labels("test")).tolist()
        [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
        """
        return self._labels_of(self._arrays(split, images=False))

    def tf_data(
        self,
        split: str,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_remainder: bool = False,
        labels: bool = False,
    ) -> tf.data.Dataset:
        """A prefetching pipeline of batches: uint8 [B, H, W, C], or (images, labels).

        Splits up to 512 MB are held in memory and shuffled perfectly. Larger ones are streamed;
        shuffling then mixes the files and 512 MB of images at a time.

        Args:
            split: one of `splits`.
            batch_size: images per batch.
            shuffle: another order in each pass; the same ones again for the same seed (and the
                same global seed of TensorFlow, if one is set).
            seed: of the shuffling.
            drop_remainder: leaves out a last batch of fewer images, so that B is static.
            labels: yields (images, labels).

        Raises:
            InputError: there is no such split, no labels, or `batch_size` is not positive.

        Example:

        >>> import tfgen
        >>> batches = tfgen.data.load("digits").tf_data("train", batch_size=100, shuffle=True)
        >>> batches.element_spec, len(batches)
        (TensorSpec(shape=(None, 8, 8, 1), dtype=tf.uint8, name=None), 15)
        """
        stored = self._checked(split, batch_size, labels)
        if self._bytes(split) <= _IN_MEMORY_BYTES:
            batches = self._from_memory(split, batch_size, shuffle, seed, drop_remainder)
        else:
            batches = self._reader.batches(
                *stored,
                batch_size,
                shuffle_buffer=self._buffer() if shuffle else 0,
                seed=seed,
                partial=not drop_remainder,
            )

        def chosen(batch):
            return (batch["image"], self._labels_of(batch)) if labels else batch["image"]

        return batches.map(chosen, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def stream(
        self,
        split: str,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        labels: bool = False,
        augmentation: Augmentation | None = None,
    ) -> stream.Stream:
        """The batches of a training: the same ones again from any step on, for any replicas.

        Splits up to 512 MB are held in memory and shuffled perfectly. Larger ones are streamed;
        shuffling then mixes the files and 512 MB of images at a time, every worker reads all
        records, and beginning in the middle of an epoch reads past those before.

        Args:
            split: one of `splits`.
            batch_size: images in a global batch.
            seed: of the order of each epoch, and of the augmentation.
            shuffle: whether the order differs from the fixed one.
            labels: yields (images, labels).
            augmentation: of the images.

        Raises:
            InputError: there is no such split, no labels, or `batch_size` is not positive.

        Example:

        >>> import tfgen
        >>> stream = tfgen.data.load("digits").stream("train", batch_size=100)
        >>> stream.steps_per_epoch, stream.global_batch(20).shape
        (15, TensorShape([100, 8, 8, 1]))
        """
        stored = self._checked(split, batch_size, labels)
        if self._bytes(split) <= _IN_MEMORY_BYTES:
            arrays = self._arrays(split)
            source = stream.in_memory(
                {"image": arrays["image"], "labels": self._labels_of(arrays) if labels else None},
                self.splits[split],
            )
        else:
            source = stream.from_files(
                lambda seed: self._reader.batches(
                    *stored,
                    batch_size,
                    shuffle_buffer=self._buffer() if shuffle else 0,
                    seed=seed,
                    reshuffle=False,
                ),
                batch_size,
                self.image_shape,
                self._labels_of if labels else lambda batch: None,
            )
        return stream.Stream(
            count=self.splits[split],
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            augmentation=augmentation or Augmentation(),
            _source=source,
        )

    def with_validation(self, fraction: float) -> "Dataset":
        """The data set with the last `fraction` of "train" as "validation", unless it has one.

        Args:
            fraction: part of the training images, in (0, 1), rounded to whole images.

        Raises:
            InputError: `fraction` leaves nothing on one of the two sides.

        Example:

        >>> import tfgen
        >>> tfgen.data.load("digits").with_validation(0.1).splits
        {'train': 1293, 'validation': 144, 'test': 360}
        """
        if "validation" in self.splits:
            return self
        count = self.splits["train"]
        held = round(count * fraction) if 0 < fraction < 1 else 0
        if not 0 < held < count:
            raise InputError(
                f"cannot hold out the fraction {fraction} of {count} training images; give one "
                "that leaves images on both sides (a recipe's data.validation=0 holds out none)"
            )
        stored, start, stop = self._stored["train"]
        cut = stop - held
        pieces = {"train": (stored, start, cut), "validation": (stored, cut, stop)}
        return dataclasses.replace(
            self,
            splits={"train": count - held, "validation": held, **_without_train(self.splits)},
            provenance=self.provenance | {"held_out": fraction},
            _stored=pieces | _without_train(self._stored),
        )

    def _checked(self, split, batch_size, labels):
        """Where the split is stored."""
        stored = self._where(split)
        if operator.index(batch_size) < 1:
            raise InputError(f"batch_size is {batch_size}; give a positive whole number")
        if labels and not self._has_labels():
            raise InputError(f"{self.name} has no labels")
        return stored

    def _buffer(self):
        """Images that are mixed at a time."""
        return max(1, _IN_MEMORY_BYTES // int(np.prod(self.image_shape)))

    def _where(self, split):
        if split not in self._stored:
            raise InputError(f"{self.name} has no split {split!r}, only {', '.join(self._stored)}")
        return self._stored[split]

    def _bytes(self, split):
        return self.splits[split] * int(np.prod(self.image_shape))

    def _has_labels(self):
        return self._reader.label_keys != []

    def _labels_of(self, examples):
        if self._label_key is not None:
            return examples[self._label_key]
        return {key: examples[key] for key in self._reader.label_keys} or None

    def _arrays(self, split, images=True):
        """Dict of arrays [N, ...], filled batch by batch."""
        arrays, filled = {}, 0
        try:
            for batch in self._reader.batches(*self._where(split), _READ_BATCH).prefetch(2):
                for key, values in batch.items():
                    if key == "image" and not images:
                        continue
                    values = values.numpy()
                    if key not in arrays:
                        shape = (self.splits[split], *values.shape[1:])
                        arrays[key] = np.empty(shape, values.dtype)
                    arrays[key][filled : filled + len(values)] = values
                filled += len(values)
        except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
            raise InputError(
                f"the prepared data of {self.name} is damaged ({error.message.splitlines()[0]}); "
                f"delete {self._reader.place} and try again"
            ) from None
        return arrays

    def _from_memory(self, split, batch_size, shuffle, seed, drop_remainder):
        # On the host: a GPU would otherwise hold the split and hand it back batch by batch.
        with tf.device("CPU:0"):
            examples = tf.nest.map_structure(tf.constant, self._arrays(split))
            order = tf.data.Dataset.range(self.splits[split])
            if shuffle:
                order = order.shuffle(self.splits[split], seed=seed, reshuffle_each_iteration=True)
            batches = order.batch(batch_size, drop_remainder=drop_remainder)
        return batches.map(
            lambda picked: {key: tf.gather(values, picked) for key, values in examples.items()},
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )


def _without_train(splits):
    return {split: value for split, value in splits.items() if split != "train"}
