"""Random changes of training images that leave them images of the same kind."""

import tensorflow as tf


class Augmentation:
    """Shifts by whole pixels, each as likely as any other, and mirror images.

    Pixels that a shift uncovers repeat the edge. What happens to an image depends on its number
    in the epoch, the epoch and the seed alone: not on the batch or the replica that it lands in.

    Args:
        shift: the largest shift in pixels, up, down, left and right.
        flip: whether one image in two is mirrored, left and right exchanged.

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

    def __init__(self, shift=0, flip=False):
        self.shift, self.flip = shift, flip

    def __bool__(self):
        return bool(self.shift or self.flip)

    def draws(self, count, seed):
        """For each image of an epoch how far down and right it goes and whether it is mirrored.

        Shapes: int32 `[count, 3]`.

        Args:
            count: images in the epoch.
            seed: two integers.
        """
        kinds = 2 * self.shift + 1
        uniform = tf.random.stateless_uniform([count, 3], seed)
        drawn = tf.cast(tf.floor(uniform * [kinds, kinds, 2]), tf.int32)
        return (drawn - [self.shift, self.shift, 0]) * [1, 1, int(self.flip)]

    def apply(self, images, draws):
        """The changed images.

        Shapes: uint8 `[N, H, W, C]`, int32 `[N, 3] -> uint8 [N, H, W, C]`.
        """
        images, draws = tf.convert_to_tensor(images), tf.convert_to_tensor(draws)
        height, width, channels = images.shape[1:]
        down, right, mirrored = tf.unstack(draws[:, :, None], axis=1)
        rows = tf.clip_by_value(tf.range(height) - down, 0, height - 1)
        rows += height * tf.range(tf.shape(images)[0])[:, None]
        images = tf.gather(tf.reshape(images, [-1, width * channels]), rows)
        images = tf.reshape(images, [-1, height, width, channels])
        columns = tf.clip_by_value(tf.range(width) - right, 0, width - 1)
        columns = tf.where(mirrored == 1, tf.reverse(columns, [-1]), columns)
        return tf.gather(images, columns, axis=2, batch_dims=1)
