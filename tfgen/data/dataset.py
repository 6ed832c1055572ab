"""`Dataset`: images as uint8, whole splits as arrays or in batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen import checks
from tfgen.data import stream
from tfgen.data.augmentation import Augmentation
from tfgen.data.reader import Reader
from tfgen.errors import InputError

_IN_MEMORY_BYTES = 2**29  # larger splits are read from files, batch by batch
_READ_BATCH = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with fixed, disjoint splits, as `tfgen.data.load` returns it.

    Attributes:
        name: name of the data set or the folder.
        image_shape: (H, W, C).
        splits: number of images of each split: "train", perhaps "validation", and "test".
        provenance: JSON-serializable dict: source, builder version, options, how the splits were
            made, digests of the local files that were read, number of unreadable files.
        unreadable: (path, reason) of each file of a folder that could not be read.
    """

    name: str
    image_shape: tuple[int, ...]
    splits: dict[str, int]
    provenance: dict[str, Any]
    unreadable: list[tuple[str, str]]
    _reader: Reader = dataclasses.field(repr=False)
    _ranges: dict[str, tuple[str, int, int]] = dataclasses.field(repr=False)
    """For each split: the stored split, and the positions in it where this one starts and stops."""

    @property
    def num_classes(self) -> int | None:
        """Number of classes if the label is one class, otherwise None."""
        return len(self._reader.class_names["label"]) if self._has_one_label else None

    @property
    def label_names(self) -> tuple[str, ...] | dict[str, tuple[str, ...]] | None:
        """Names of the classes, in the order of the labels' values.

        A tuple if the label is one class. If there are several labels, a dict of tuples for the
        labels that are classes. None if there are no classes.
        """
        names = self._reader.class_names
        return names["label"] if self._has_one_label else names or None

    def images(self, split: str) -> np.ndarray:
        """All images of a split, in their fixed order: uint8 [N, H, W, C].

        Args:
            split: one of `splits`.

        Raises:
            InputError: there is no such split, or the stored data is damaged.

        Example:

        >>> import tfgen
        >>> images = tfgen.data.load("digits").images("test")
        >>> images.shape, images.dtype
        ((360, 8, 8, 1), dtype('uint8'))
        """
        return self._arrays(split)["image"]

    def labels(self, split: str) -> np.ndarray | dict[str, np.ndarray] | None:
        """All labels of a split, in the order of `images`: [N], a dict of such arrays, or None.

        Args:
            split: one of `splits`.

        Raises:
            InputError: there is no such split, or the stored data is damaged.

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
        """One epoch of `stream` as a finite `tf.data.Dataset`, as `keras.Model.fit` expects it.

        Args:
            split: one of `splits`.
            batch_size: images per batch.
            shuffle: whether each pass over the dataset has a new order. The orders are a function
                of the seed and of TensorFlow's global seed, if one is set.
            seed: seed of the shuffling.
            drop_remainder: whether to omit a smaller last batch, so that the batch size is static.
            labels: whether to yield (images, labels).

        Returns:
            A prefetching dataset of uint8 [B, H, W, C], or (images, labels).

        Raises:
            InputError: there is no such split, no labels, or `batch_size` is not positive.

        Example:

        >>> import tfgen
        >>> batches = tfgen.data.load("digits").tf_data("train", batch_size=100, shuffle=True)
        >>> batches.element_spec, len(batches)
        (TensorSpec(shape=(None, 8, 8, 1), dtype=tf.uint8, name=None), 15)
        """
        batches = self.stream(
            split, batch_size=batch_size, seed=seed, shuffle=shuffle, labels=labels
        )
        return batches.one_epoch(drop_remainder=drop_remainder)

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
        """The batches of a training run, reproducible from any step and for any number of replicas.

        Splits up to 512 MB are held in memory and shuffled perfectly. Larger ones are read from
        files: shuffling then mixes the files and 512 MB of images at a time, every worker reads all
        records, and starting in the middle of an epoch reads the records before it.

        Args:
            split: one of `splits`.
            batch_size: images per global batch.
            seed: seed of the order of each epoch and of the augmentation.
            shuffle: whether to shuffle each epoch.
            labels: whether to yield (images, labels).
            augmentation: random transformations of the images.

        Raises:
            InputError: there is no such split, no labels, or `batch_size` is not positive.

        Example:

        >>> import tfgen
        >>> stream = tfgen.data.load("digits").stream("train", batch_size=100)
        >>> stream.steps_per_epoch, stream.global_batch(20).shape
        (15, TensorShape([100, 8, 8, 1]))
        """
        stored = self._range(split)
        batch_size = checks.integer("batch_size", batch_size, 1)
        if labels and not self._reader.label_keys:
            raise InputError(f"{self.name} has no labels")
        bytes_per_image = int(np.prod(self.image_shape))
        if self.splits[split] * bytes_per_image <= _IN_MEMORY_BYTES:
            arrays = self._arrays(split)
            source = stream.in_memory(arrays["image"], self._labels_of(arrays) if labels else None)
        else:
            buffer = max(1, _IN_MEMORY_BYTES // bytes_per_image) if shuffle else 0
            source = stream.from_files(
                lambda seed: self._reader.batches(
                    *stored, batch_size, shuffle_buffer=buffer, seed=seed
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

    def with_validation(self, fraction: float) -> Dataset:
        """The data set with the last `fraction` of "train" as "validation", unless it has one.

        Args:
            fraction: fraction of the training images, in (0, 1); the number of images is rounded.

        Raises:
            InputError: `fraction` leaves one of the two splits empty.

        Example:

        >>> import tfgen
        >>> tfgen.data.load("digits").with_validation(0.1).splits
        {'train': 1293, 'validation': 144, 'test': 360}
        """
        if "validation" in self.splits:
            return self
        count = self.splits["train"]
        held_out = round(count * fraction) if 0 < fraction < 1 else 0
        if not 0 < held_out < count:
            raise InputError(
                f"cannot hold out the fraction {fraction} of {count} training images: neither "
                "split may be empty (in a recipe, data.validation=0 holds out none)"
            )
        stored, start, stop = self._ranges["train"]
        cut = stop - held_out
        ranges = {"train": (stored, start, cut), "validation": (stored, cut, stop)}
        ranges |= {split: value for split, value in self._ranges.items() if split != "train"}
        return dataclasses.replace(
            self,
            splits={split: stop - start for split, (_, start, stop) in ranges.items()},
            provenance=self.provenance | {"held_out": fraction},
            _ranges=ranges,
        )

    @property
    def _has_one_label(self) -> bool:
        return "label" in self._reader.class_names

    def _range(self, split: str) -> tuple[str, int, int]:
        if split not in self._ranges:
            hint = checks.did_you_mean(split, self._ranges)
            known = ", ".join(self._ranges)
            raise InputError(f"{self.name} has no split {split!r}, only {known}{hint}")
        return self._ranges[split]

    def _labels_of(self, examples: Mapping[str, Any]) -> Any:
        if self._has_one_label:
            return examples["label"]
        return {key: examples[key] for key in self._reader.label_keys} or None

    def _arrays(self, split: str, images: bool = True) -> dict[str, np.ndarray]:
        """Arrays [N, ...] of the images and labels, filled batch by batch."""
        arrays: dict[str, np.ndarray] = {}
        filled = 0
        try:
            for batch in self._reader.batches(*self._range(split), _READ_BATCH).prefetch(2):
                for key, tensor in batch.items():
                    if key == "image" and not images:
                        continue
                    values = tensor.numpy()
                    if key not in arrays:
                        shape = (self.splits[split], *values.shape[1:])
                        arrays[key] = np.empty(shape, values.dtype)
                    arrays[key][filled : filled + len(values)] = values
                filled += len(batch["image"])
        except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
            raise InputError(
                f"the stored data of {self.name} is damaged ({error.message.splitlines()[0]}); "
                f"delete {self._reader.directory} and try again"
            ) from None
        return arrays
