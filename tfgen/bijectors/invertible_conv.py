"""Invertible 1x1 convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.bijectors.base import FlowBijector, image_or_vector_shape
from tfgen.bijectors.permutation import reordered
from tfgen.bijectors.weights import Weights


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class InvertibleConv1x1(FlowBijector):
    """A learned linear mixing of the channels, the same at every pixel.

    Equations, with W of shape [C, C], initialized to a random rotation:

    - inverse: z_ij = W x_ij
    - forward: x_ij = W^-1 z_ij
    - log |det dz/dx| = H * W * log |det W|

    With `lu=True`, W = P L (U + diag(s)): P a fixed permutation, L lower triangular with unit
    diagonal, U strictly upper triangular, s stored as a fixed sign and log |s|, so that
    log |det W| = sum(log |s|) is cheap and W stays invertible.

    Shapes: `[..., H, W, C] -> [..., H, W, C]`, or `[..., C] -> [..., C]` with H W = 1;
    log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors.
        lu: whether W is stored in its LU form.
        seed: seed of the initial rotation; by default Keras' global seed.
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: an event shape of another rank, or data of another shape or dtype.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 3.2.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> mixing = tfgen.bijectors.InvertibleConv1x1((4, 4, 3), seed=0)
    >>> x = tf.ones([2, 4, 4, 3])
    >>> z, log_det = mixing.inverse_and_log_det(x)
    >>> bool(tf.reduce_max(abs(mixing.forward(z) - x)) < 1e-5), log_det.shape
    (True, TensorShape([2]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        lu: bool = True,
        seed: int | None = None,
        dtype: str | tf.DType = "float32",
        name: str = "invertible_conv",
    ) -> None:
        parameters = dict(locals())
        *sides, channels = image_or_vector_shape(f"{name}: event_shape", event_shape)
        self._pixels = math.prod(sides)
        self._lu = lu
        rotation = keras.initializers.Orthogonal(seed=seed)((channels, channels), "float32")
        rotation = tf.cast(rotation, dtype)
        weights = Weights(dtype=dtype, name=name)
        if lu:
            packed, permutation = tf.linalg.lu(rotation)
            diagonal = tf.linalg.diag_part(packed)
            self._permutation = weights.add(
                "permutation",
                tf.math.invert_permutation(permutation),
                trainable=False,
                dtype="int32",
            )
            self._sign = weights.add("sign", tf.sign(diagonal), trainable=False)
            self._identity = np.eye(channels, dtype=packed.dtype.as_numpy_dtype)
            self._below_diagonal = np.tril(np.ones_like(self._identity), -1)
            self._lower = weights.add("lower", packed * self._below_diagonal)
            self._upper = weights.add("upper", packed * self._below_diagonal.T)
            self._log_diagonal = weights.add("log_diagonal", tf.math.log(tf.abs(diagonal)))
        else:
            self._matrix = weights.add("matrix", rotation)
        super().__init__(
            event_shape, layers=[weights], dtype=dtype, name=name, parameters=parameters
        )

    def matrix(self) -> tf.Tensor:
        """W, `[C, C]`."""
        if not self._lu:
            return self._matrix.value
        lower, upper = self._triangles()
        return reordered(tf.matmul(lower, upper), self._permutation.value, axis=0)

    def inverse_matrix(self) -> tf.Tensor:
        """W^-1, `[C, C]`."""
        if not self._lu:
            return tf.linalg.inv(self._matrix.value)
        lower, upper = self._triangles()
        permuted = tf.gather(self._identity, tf.math.invert_permutation(self._permutation.value))
        half_solved = tf.linalg.triangular_solve(lower, permuted, lower=True)
        return tf.linalg.triangular_solve(upper, half_solved, lower=False)

    def log_det(self) -> tf.Tensor:
        """log |det dz/dx|, the same for every input: a scalar in nats."""
        if self._lu:
            return self._pixels * tf.reduce_sum(self._log_diagonal.value)
        return self._pixels * tf.linalg.slogdet(self._matrix.value).log_abs_determinant

    def _triangles(self):
        diagonal = self._sign.value * tf.exp(self._log_diagonal.value)
        lower = self._lower.value * self._below_diagonal + self._identity
        upper = self._upper.value * self._below_diagonal.T + self._identity * diagonal
        return lower, upper

    def _inverse_with_log_det(self, x):
        return mix_channels(x, self.matrix()), self.log_det()

    def _forward_with_log_det(self, z):
        return mix_channels(z, self.inverse_matrix()), -self.log_det()


def mix_channels(images: tf.Tensor, matrix: tf.Tensor, shift: tf.Tensor | None = None) -> tf.Tensor:
    """A matrix `[K, C]` applied to the channel vector of every pixel, plus a shift `[K]`.

    It is one matrix product over all pixels, which on a CPU is faster than a 1x1 convolution.

    Shapes: `[N, ..., C] -> [N, ..., K]`.
    """
    mixed = tf.matmul(tf.reshape(images, [-1, images.shape[-1]]), matrix, transpose_b=True)
    if shift is not None:
        mixed = tf.nn.bias_add(mixed, shift)
    return tf.reshape(mixed, [-1, *images.shape[1:-1], matrix.shape[0]])
