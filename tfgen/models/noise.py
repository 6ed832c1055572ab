"""Noise: drawn anew at each training step or, in the verbs, computed from the image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

PHILOX, PHILOX_BLOCK = 1, 4  # TensorFlow's id of the algorithm; numbers per counter value


class StepNoise:
    """The noise of one training step, independent of the number of replicas.

    Row i of the global batch gets the same numbers on any replica: they depend only on the seed,
    the step and i. So a run on two devices equals a run on one, and a resumed run equals an
    uninterrupted one, without any random state to save.

    Args:
        seed: an int, the same throughout a training run.
        step: the optimizer's step, an integer scalar.
        images: this replica's part of the global batch.

    Attributes:
        global_batch_size: images in the global batch, a float32 scalar.
    """

    def __init__(self, seed: int, step: tf.Tensor | int, images: tf.Tensor) -> None:
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

    def uniform(self, shape: Sequence[int]) -> tf.Tensor:
        """Uniform in [0, 1): `[N, *shape]`."""
        return self._own_rows(tf.raw_ops.StatelessRandomUniformV2, shape)

    def normal(self, shape: Sequence[int]) -> tf.Tensor:
        """Standard normal: `[N, *shape]`."""
        return self._own_rows(tf.raw_ops.StatelessRandomNormalV2, shape)

    def mean_over_batch(self, values: tf.Tensor) -> tf.Tensor:
        """The mean over the images of the global batch: `[N, ...] -> [...]`."""
        total = tf.reduce_sum(values, axis=0)
        if self._replicas > 1:
            replica = tf.distribute.get_replica_context()
            total = replica.all_reduce(tf.distribute.ReduceOp.SUM, total)
        return total / self.global_batch_size

    def _own_rows(self, draw, shape):
        # Philox generates four numbers per counter value. With rows of whole blocks, a replica
        # starts at its own first row and does not draw the rows of the others.
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

    Equations: a hash of the pixels gives an integer h below 2^16; uniform number i of an image is
    frac(o_i + k_i h / 2^16), with offsets o_i evenly spread over [0, 1) and odd integers k_i, both
    in a fixed random order. Normal noise is Box and Muller's sqrt(-2 log u) cos(2 pi u') of two
    such numbers.

    Over many images, each number is distributed like the random number that it replaces, so that
    the mean of a log-likelihood over images estimates the same expectation. Yet an image always
    gets the same value, in Python and in an exported graph, regardless of the rest of its batch.
    All integers stay below 2^31.

    Args:
        image_shape: (H, W, C).
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        size = math.prod(image_shape)
        largest = max(1, min(4096, (2**31 - 1) // (255 * size)))
        self._weights = _generator().randint(1, largest + 1, size).astype("int32")

    def uniform(
        self,
        images: tf.Tensor,
        shape: Sequence[int],
        shift: float | tf.Tensor = 0.0,
        seed: int = 0,
    ) -> tf.Tensor:
        """Uniform in [0, 1): uint8 `[N, H, W, C] -> float32 [N, *shape]`.

        Args:
            images: as the model sees them.
            shape: shape of the noise per image.
            shift: `[*shape]`, added modulo 1, which gives other noise of the same distribution.
            seed: seed of the offsets and factors; equal seeds and sizes give equal noise.
        """
        generator, size = _generator(seed), math.prod(shape)
        offsets = ((generator.permutation(size) + 0.5) / size).astype("float32")
        odd = 2 * generator.permutation(2**14) + 1
        factors = np.resize(odd, size).astype("int32")
        of_image = tf.cast(factors * self._hash(images) % 2**16, tf.float32) / 2.0**16
        position = tf.reshape(offsets + of_image, [-1, *shape]) + shift
        return position - tf.floor(position)

    def normal(
        self, images: tf.Tensor, shape: Sequence[int], shift: float | tf.Tensor = 0.0
    ) -> tf.Tensor:
        """Standard normal: uint8 `[N, H, W, C] -> float32 [N, *shape]`.

        Args:
            images: as the model sees them.
            shape: shape of the noise per image.
            shift: `[2, *shape]`, for the two uniform numbers that each normal number is computed
                from.
        """
        # A model that draws both kinds must not get the numbers of its uniform noise here.
        seed = int(2 * math.prod(shape) == len(self._weights))
        radius, angle = tf.unstack(self.uniform(images, [2, *shape], shift, seed), axis=1)
        return tf.sqrt(-2.0 * tf.math.log(1.0 - radius)) * tf.cos(2.0 * math.pi * angle)

    def _hash(self, images):
        pixels = tf.cast(tf.reshape(images, [-1, len(self._weights)]), tf.int32)
        return tf.reduce_sum(pixels * self._weights, axis=-1, keepdims=True) % 2**16


def _generator(seed=0):
    return np.random.RandomState(seed)  # NumPy promises that its stream never changes.
