"""Data sets of TFDS, whose images are fitted to one shape while they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from tfgen.data.reader import Reader


class TFDSReader(Reader):
    """Reads a prepared data set of TFDS.

    Args:
        builder: builder of the data set.
        image_key: the feature that is the image.
        image_shape: (H, W, C) to fit the images to.
    """

    def __init__(
        self, builder: tfds.core.DatasetBuilder, image_key: str, image_shape: Sequence[int]
    ) -> None:
        features = builder.info.features
        self._builder, self._image_key, self._shape = builder, image_key, image_shape
        self._scalars = _scalars(features, image_key)
        self.label_keys = list(self._scalars)
        self.class_names = {
            key: tuple(features[key].names)
            for key in self.label_keys
            if key in features and isinstance(features[key], tfds.features.ClassLabel)
        }
        self.directory = str(builder.data_path)

    def _records(self, split, start, stop, shuffle_files, seed):
        config = tfds.ReadConfig(
            try_autocache=False,
            interleave_cycle_length=16 if shuffle_files else 1,
            shuffle_seed=seed,
            shuffle_reshuffle_each_iteration=False,
        )
        return self._builder.as_dataset(
            split=f"{split}[{start}:{stop}]", shuffle_files=shuffle_files, read_config=config
        ).map(self._fitted, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _fitted(self, example):
        labels = {key: _at(example, path) for key, path in self._scalars.items()}
        return {"image": fit(example[self._image_key], self._shape), **labels}


def fit(image: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
    """Fits an image: uint8 [h, w, c] -> uint8 [H, W, C], c = 1, 3 or 4 (transparent on white).

    The shorter side is resized (bicubic, antialiased), the longer one cropped around the centre.

    Args:
        image: uint8, of any size.
        image_shape: (H, W, C), C = 1 or 3.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.data.formats.tfds_records import fit
    >>> fit(tf.zeros([40, 60, 3], tf.uint8), (32, 32, 1)).shape
    TensorShape([32, 32, 1])
    """
    height, width, channels = image_shape
    if image.shape[-1] is None:
        image = tf.cond(
            tf.shape(image)[-1] == 1, lambda: tf.image.grayscale_to_rgb(image), lambda: image
        )
        image = tf.ensure_shape(image, [None, None, 3])
    if image.shape[-1] == 4:
        opaque = tf.cast(image[..., 3:], tf.float32) / 255
        colour = tf.cast(image[..., :3], tf.float32)
        image = tf.cast(tf.round(colour * opaque + 255 * (1 - opaque)), tf.uint8)
    if channels == 3 and image.shape[-1] == 1:
        image = tf.image.grayscale_to_rgb(image)
    if channels == 1 and image.shape[-1] == 3:
        image = tf.image.rgb_to_grayscale(image)
    if image.shape[:2] != (height, width):
        size = tf.shape(image)[:2]
        scale = tf.reduce_max([height, width] / size)
        resized_size = tf.maximum(
            tf.cast(tf.round(tf.cast(size, scale.dtype) * scale), tf.int32), 1
        )
        resized = tf.image.resize(image, resized_size, "bicubic", antialias=True)
        top, left = tf.unstack((resized_size - [height, width]) // 2)
        cropped = resized[top : top + height, left : left + width]
        image = tf.cast(tf.clip_by_value(tf.round(cropped), 0, 255), tf.uint8)
    return tf.ensure_shape(image, image_shape)


def _scalars(features: Mapping[str, Any], image_key: str) -> dict[str, tuple[str, ...]]:
    """The path of each feature that is a scalar number, by the feature's own name."""
    found: dict[str, tuple[str, ...]] = {}
    for key, feature in features.items():
        nested = feature.items() if isinstance(feature, tfds.features.FeaturesDict) else ()
        paths: dict[str, tuple[str, ...]] = {inner: (key, inner) for inner, _ in nested}
        for name, path in (paths or {key: (key,)}).items():
            leaf = _at(features, path)
            is_number = getattr(leaf, "shape", None) == () and leaf.np_dtype not in (object, bytes)
            if key != image_key and is_number:
                found.setdefault(name, path)
    return found


def _at(tree: Mapping[str, Any], path: Sequence[str]) -> Any:
    for key in path:
        tree = tree[key]
    return tree
