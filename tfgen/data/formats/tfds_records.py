"""Reads data sets of TFDS, fitting their images to one shape on the way."""

import tensorflow as tf
import tensorflow_datasets as tfds


class TFDSReader:
    """Batches of examples of a prepared TFDS builder."""

    def __init__(self, builder, image_key, image_shape):
        self._builder, self._image_key, self._shape = builder, image_key, image_shape
        self._scalars = _scalars(builder.info.features, image_key)
        self.label_keys = list(self._scalars)
        self.place = str(builder.data_path)

    def batches(
        self,
        split,
        start,
        stop,
        batch_size,
        *,
        shuffle_buffer=0,
        seed=0,
        reshuffle=True,
        partial=True,
    ):
        """As `PreparedReader.batches`."""
        config = tfds.ReadConfig(
            try_autocache=False,
            interleave_cycle_length=16 if shuffle_buffer else 1,
            shuffle_seed=seed,
            shuffle_reshuffle_each_iteration=reshuffle,
        )
        examples = self._builder.as_dataset(
            split=f"{split}[{start}:{stop}]",
            shuffle_files=bool(shuffle_buffer),
            read_config=config,
        ).map(self._fitted, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        if shuffle_buffer:
            examples = examples.shuffle(
                shuffle_buffer, seed=seed, reshuffle_each_iteration=reshuffle
            )
        return examples.batch(batch_size, drop_remainder=not partial)

    def _fitted(self, example):
        labels = {key: _at(example, path) for key, path in self._scalars.items()}
        return {"image": fit(example[self._image_key], self._shape), **labels}


def fit(image: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
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


def _scalars(features, image_key):
    """Name -> path of every scalar number; those of a nested dict under their own name."""
    found = {}
    for key, feature in features.items():
        nested = feature.items() if isinstance(feature, tfds.features.FeaturesDict) else ()
        paths = {inner: (key, inner) for inner, _ in nested} or {key: (key,)}
        for name, path in paths.items():
            leaf = _at(features, path)
            is_number = getattr(leaf, "shape", None) == () and leaf.np_dtype not in (object, bytes)
            if key != image_key and is_number:
                found.setdefault(name, path)
    return found


def _at(tree, path):
    for key in path:
        tree = tree[key]
    return tree
