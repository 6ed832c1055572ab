"""Random transformations of training images."""

import numpy as np
import tensorflow as tf


class Augmentation:
    """Uniform shifts by whole pixels, and horizontal flips.

    Pixels that a shift uncovers repeat the edge. The transformation of an image depends only on its
    position in the epoch, the epoch and the seed, not on its batch or replica.

    Args:
        shift: the largest shift in pixels, up, down, left and right.
        flip: whether half of the images, chosen at random, are mirrored horizontally.

    Example:

    >>> import numpy as np
    >>> from tfgen.data.augmentation import Augmentation
    >>> augmentation = Augmentation(shift=1, flip=True)
    >>> image = np.arange(9, dtype="uint8").reshape(1, 3, 3, 1)
    >>> augmentation.apply(image, [[1, 0, 1]])[0, ..., 0].numpy()  # down by one, and mirrored
    array([[2, 1, 0],
           [2, 1, 0],
           [5, 4, 3]], dtype=uint8)
    """

    def __init__(self, shift: int = 0, flip: bool = False) -> None:
        self.shift, self.flip = shift, flip

    def __bool__(self) -> bool:
        return bool(self.shift or self.flip)

    def draw(self, count: int, seed: tf.Tensor | list[int]) -> tf.Tensor:
        """Draws a transformation for each image of an epoch.

        Args:
            count: number of images in the epoch.
            seed: two integers.

        Returns:
            int32 `[count, 3]`: the shifts down and to the right in pixels, and 1 if mirrored.
        """
        num_shifts = 2 * self.shift + 1
        uniform = tf.random.stateless_uniform([count, 3], seed)
        drawn = tf.cast(tf.floor(uniform * [num_shifts, num_shifts, 2]), tf.int32)
        return (drawn - [self.shift, self.shift, 0]) * [1, 1, int(self.flip)]

    def apply(
        self, images: tf.Tensor | np.ndarray, transforms: tf.Tensor | np.ndarray | list[list[int]]
    ) -> tf.Tensor:
        """Transforms images.

        Shapes: uint8 `[N, H, W, C]`, int32 `[N, 3] -> uint8 [N, H, W, C]`.

        Args:
            images: images of the epoch.
            transforms: the rows of the result of `draw` for these images.
        """
        images, transforms = tf.convert_to_tensor(images), tf.convert_to_tensor(transforms)
        height, width, channels = images.shape[1:]
        down, right, mirrored = tf.unstack(transforms[:, :, None], axis=1)
        rows = tf.clip_by_value(tf.range(height) - down, 0, height - 1)
        rows += height * tf.range(tf.shape(images)[0])[:, None]
        images = tf.gather(tf.reshape(images, [-1, width * channels]), rows)
        images = tf.reshape(images, [-1, height, width, channels])
        columns = tf.clip_by_value(tf.range(width) - right, 0, width - 1)
        columns = tf.where(mirrored == 1, tf.reverse(columns, [-1]), columns)
        return tf.gather(images, columns, axis=2, batch_dims=1)
