"""Noise: drawn anew at every training step, and fixed where a verb must be a function."""

import math

import numpy as np
import tensorflow as tf


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
        return self._own_rows(tf.random.stateless_uniform, shape)

    def normal(self, shape):
        """Standard normal: `[N, *shape]`."""
        return self._own_rows(tf.random.stateless_normal, shape)

    def _own_rows(self, draw, shape):
        seed = tf.random.experimental.stateless_fold_in(self._seed, self._draws)
        self._draws += 1
        rows = draw([self._rows_each * self._replicas, *shape], seed=seed)
        return rows[self._first_row :][: self._count]


class ImageNoise:
    """Uniform noise for each image that is a function of the image alone.

    Equations: a hash of the pixels gives an integer h below 2^16; pixel i gets
    frac(o_i + k_i h / 2^16), with offsets o_i evenly spread over [0, 1) and odd integers k_i, both
    in a fixed random order.

    Over images each pixel meets uniform noise, as it does in training, so that a mean
    log-likelihood estimates the same expectation; yet the same image always gets the same value, in
    Python and in an exported graph, whatever stands beside it in a batch. All integers stay
    below 2^31.

    Shapes: uint8 `[N, H, W, C] -> float32 [N, H, W, C]`.

    Args:
        image_shape: (H, W, C).
    """

    def __init__(self, image_shape):
        size = math.prod(image_shape)
        generator = np.random.RandomState(0)  # NumPy promises that its stream never changes.
        self._shape = image_shape
        self._offsets = ((generator.permutation(size) + 0.5) / size).astype("float32")
        odd = 2 * generator.permutation(2**14) + 1
        self._turns = np.resize(odd, size).astype("int32")
        largest = max(1, min(4096, (2**31 - 1) // (255 * size)))
        self._weights = generator.randint(1, largest + 1, size).astype("int32")

    def __call__(self, images):
        pixels = tf.cast(tf.reshape(images, [-1, len(self._weights)]), tf.int32)
        key = tf.reduce_sum(pixels * self._weights, axis=-1, keepdims=True) % 2**16
        turned = tf.cast(self._turns * key % 2**16, tf.float32) / 2.0**16
        position = self._offsets + turned
        return tf.reshape(position - tf.floor(position), [-1, *self._shape])


def antithetic_normal(count, size):
    """Fixed standard normal rows, each followed by its negative: `[count, size]`, float32."""
    half = np.random.RandomState(0).standard_normal(((count + 1) // 2, size))
    return np.stack([half, -half], axis=1).reshape(-1, size)[:count].astype("float32")
