"""Actnorm and the mixing of channels in a step of flow, computed together.

Both classes have the same methods. `inverse` maps towards the latents and returns the mixed
channels in the two halves that a coupling needs (`tfgen.bijectors.halves`); `forward`
maps back, `[N, ..., C] -> [N, ..., C]`. Both also return the log-determinant, a scalar in nats.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tfgen.bijectors.actnorm import ActNorm
from tfgen.bijectors.halves import halves
from tfgen.bijectors.invertible_conv import InvertibleConv1x1, mix_channels
from tfgen.bijectors.permutation import Permutation


class PermutationMixing:
    """Actnorm, then a permutation."""

    is_precomputed = False

    def __init__(self, actnorm: ActNorm, permutation: Permutation) -> None:
        self._actnorm = actnorm
        self._permutation = permutation

    def inverse(self, x: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The halves of z, and log |det dz/dx|."""
        normalized, log_det = self._actnorm._inverse_with_log_det(x)
        mixed, _ = self._permutation._inverse_with_log_det(normalized)
        return halves(mixed), log_det

    def forward(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """x and log |det dx/dz|."""
        normalized, _ = self._permutation._forward_with_log_det(z)
        return self._actnorm._forward_with_log_det(normalized)

    def precomputed(self) -> contextlib.AbstractContextManager[list[tf.Variable]]:
        """See `FlowBijector.precomputed`: here there is nothing to compute."""
        return contextlib.nullcontext([])


class AffineMixing:
    """Actnorm and a 1x1 convolution as one matrix product, z = (W diag(s)) x + W b."""

    def __init__(self, actnorm: ActNorm, convolution: InvertibleConv1x1) -> None:
        self._actnorm = actnorm
        self._convolution = convolution
        self._held: list[tf.Variable] = []

    @property
    def is_precomputed(self) -> bool:
        """See `FlowBijector.is_precomputed`."""
        return bool(self._held)

    def inverse(self, x: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The halves of z, and log |det dz/dx|."""
        matrix, shift = self._held[:2] or self._inverse_map()
        of_halves = zip(halves(matrix, axis=0), halves(shift, axis=0), strict=True)
        return [mix_channels(x, *half) for half in of_halves], self._log_det()

    def forward(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """x and log |det dx/dz|."""
        return mix_channels(z, *(self._held[2:4] or self._forward_map())), -self._log_det()

    @contextlib.contextmanager
    def precomputed(self) -> Iterator[list[tf.Variable]]:
        """See `FlowBijector.precomputed`."""
        values = (*self._inverse_map(), *self._forward_map(), self._log_det())
        self._held = [tf.Variable(value, trainable=False) for value in values]
        try:
            yield list(self._held)
        finally:
            self._held = []

    def _inverse_map(self):
        """The matrix `[C, C]` and the shift `[C]` from x to z."""
        scale, shift = self._actnorm.scale_and_shift()
        matrix = self._convolution.matrix()
        return matrix * scale, tf.linalg.matvec(matrix, shift)

    def _forward_map(self):
        """The matrix `[C, C]` and the shift `[C]` from z to x."""
        scale, shift = self._actnorm.scale_and_shift()
        return self._convolution.inverse_matrix() / scale[:, None], -shift / scale

    def _log_det(self):
        return (
            self._held[4] if self._held else self._actnorm.log_det() + self._convolution.log_det()
        )
