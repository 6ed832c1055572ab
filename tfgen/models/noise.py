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


def even_uniform(shape):
    """The midpoints of a fine grid of [0, 1) in a fixed random order: `[*shape]`, float32.

    Used where images must meet uniform noise and the result must depend on the image alone.
    """
    size = math.prod(shape)
    order = np.random.RandomState(0).permutation(size)
    return ((order + 0.5) / size).reshape(shape).astype("float32")


def antithetic_normal(count, size):
    """Fixed standard normal rows, each followed by its negative: `[count, size]`, float32."""
    half = np.random.RandomState(0).standard_normal(((count + 1) // 2, size))
    return np.stack([half, -half], axis=1).reshape(-1, size)[:count].astype("float32")
