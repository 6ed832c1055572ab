"""Noise: drawn anew at every training step, and from the image where a verb is a function."""

import math

import numpy as np
import tensorflow as tf

PHILOX, PHILOX_BLOCK = 1, 4  # TensorFlow's number of the algorithm; numbers it makes at a time


class StepNoise:
    """The noise of one training step, the same whatever the number of replicas.

    Row i of the global batch gets the same numbers on whichever replica it lands: they depend on
    the seed, the step and i only. So a run on two devices equals a run on one, and a resumed run
    equals an uninterrupted one, without any random state to save.

    Args:
        seed: an int, chosen for the whole training.
        step: the optimizer's step, an integer scalar.
        images: this replica's part of the global batch.

    Attributes:
        global_batch_size: images in the global batch, a float32 scalar.
    """

    def __init__(self, seed, step, images):
        self._count = tf.shape(images)[0]
        self._seed = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
        self._draws = 0
        replica = tf.distribute.get_replica_context()
        self._replicas = replica.num_replicas_in_sync
        total = self._count
        if self._replicas > 1:
            total = replica.all_reduce(tf.distribute.ReduceOp.SUM, total)
        self.global_batch_size = tf.cast(total, tf.float32)
        self._rows_each = -(-total // self._replicas)
        self._first_row = replica.replica_id_in_sync_group * self._rows_each

    def uniform(self, shape):
        """Uniform in [0, 1): `[N, *shape]`."""
        return self._own_rows(tf.raw_ops.StatelessRandomUniformV2, shape)

    def normal(self, shape):
        """Standard normal: `[N, *shape]`."""
        return self._own_rows(tf.raw_ops.StatelessRandomNormalV2, shape)

    def mean_over_batch(self, values):
        """The mean over the images of the global batch: `[N, ...] -> [...]`."""
        total = tf.reduce_sum(values, axis=0)
        if self._replicas > 1:
            replica = tf.distribute.get_replica_context()
            total = replica.all_reduce(tf.distribute.ReduceOp.SUM, total)
        return total / self.global_batch_size

    def _own_rows(self, draw, shape):
        # Philox makes four numbers of each value of its counter, so rows of whole blocks let a
        # replica begin at its own first row, without drawing those of the others.
        seed = tf.random.experimental.stateless_fold_in(self._seed, self._draws)
        self._draws += 1
        size = math.prod(shape)
        blocks = -(-size // PHILOX_BLOCK)
        start = tf.cast(self._first_row, tf.int64) * blocks
        key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
        numbers = draw(
            shape=[self._count, PHILOX_BLOCK * blocks],
            key=key,
            counter=tf.concat([tf.bitcast(start, tf.uint64)[None], counter[1:]], axis=0),
            alg=PHILOX,
        )
        return tf.reshape(numbers[:, :size], [-1, *shape])


class ImageNoise:
    """Noise for each image that is a function of the image alone.

    Equations: a hash of the pixels gives an integer h below 2^16; number i of an image's uniform
    noise is frac(o_i + k_i h / 2^16), with offsets o_i evenly spread over [0, 1) and odd integers
    k_i, both in a fixed random order. Normal noise is Box and Muller's sqrt(-2 log u) cos(2 pi u')
    of two such numbers.

    Over images each number is distributed as the random one that it stands for, so that the mean
    of a log-likelihood over images estimates the same expectation; yet the same image always gets
    the same value, in Python and in an exported graph, whatever stands beside it in a batch. All
    integers stay below 2^31.

    Args:
        image_shape: (H, W, C).
    """

    def __init__(self, image_shape):
        size = math.prod(image_shape)
        largest = max(1, min(4096, (2**31 - 1) // (255 * size)))
        self._weights = _generator().randint(1, largest + 1, size).astype("int32")

    def uniform(self, images, shape, shift=0.0, seed=0):
        """Uniform in [0, 1): uint8 `[N, H, W, C] -> float32 [N, *shape]`.

        `shift`, `[*shape]`, is added to it modulo 1: other noise, of the same distribution. With
        one `seed` all noise of one size is made of the same numbers.
        """
        generator, size = _generator(seed), math.prod(shape)
        offsets = ((generator.permutation(size) + 0.5) / size).astype("float32")
        odd = 2 * generator.permutation(2**14) + 1
        factors = np.resize(odd, size).astype("int32")
        of_image = tf.cast(factors * self._hash(images) % 2**16, tf.float32) / 2.0**16
        position = tf.reshape(offsets + of_image, [-1, *shape]) + shift
        return position - tf.floor(position)

    def normal(self, images, shape, shift=0.0):
        """Standard normal: uint8 `[N, H, W, C] -> float32 [N, *shape]`.

        `shift`, `[2, *shape]`, is that of the two uniform numbers that each is made of.
        """
        # A model that draws both must not get the numbers of its uniform noise of an image here.
        seed = int(2 * math.prod(shape) == len(self._weights))
        radius, angle = tf.unstack(self.uniform(images, [2, *shape], shift, seed), axis=1)
        return tf.sqrt(-2.0 * tf.math.log(1.0 - radius)) * tf.cos(2.0 * math.pi * angle)

    def _hash(self, images):
        pixels = tf.cast(tf.reshape(images, [-1, len(self._weights)]), tf.int32)
        return tf.reduce_sum(pixels * self._weights, axis=-1, keepdims=True) % 2**16


def _generator(seed=0):
    return np.random.RandomState(seed)  # NumPy promises that its stream never changes.
