"""Dequantization: noise added to integer pixel levels, so that a density can be fitted to them.

A dequantization adds an offset u in [0, 1) to each integer level l of an image, so that l + u is a
real number. It computes u from noise. This is either the noise of a training step or the noise of
the image, a function of the image alone; shifts of it modulo 1 give further draws for a bound that
averages over several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfgen import networks
from tfgen.bijectors import GlowStep, Squeeze
from tfgen.models.noise import ImageNoise, StepNoise
from tfgen.models.saved_layers import LayerOfLayers
from tfgen.numerics import log_sigmoid, sum_over_event

UNIFORM_SLOPE = 1.702  # sigmoid(1.702 z) is nearly uniform for standard normal z
LARGEST = 1.0 - 2.0**-12  # level + LARGEST is below the next level, also in float32


class UniformDequantization:
    """Offsets uniform in [0, 1), the same for every image.

    Equations: u = noise, log q(u|x) = 0, so that log P(x) >= E log p(x + u).

    Source: Theis, van den Oord and Bethge, A note on the evaluation of generative models, 2015
    (1511.01844), section 3.1.
    """

    bijectors: ClassVar[list[GlowStep]] = []
    num_tight_samples = 1

    def noise_of_step(self, noise: StepNoise, image_shape: Sequence[int]) -> tf.Tensor:
        """The noise of a training step: `[N, H, W, C]`."""
        return noise.uniform(image_shape)

    def noise_of_image(
        self, noise: ImageNoise, images: tf.Tensor, shift: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The noise of the images, shifted by `[2, H, W, C]`: `[N, H, W, C]`."""
        return noise.uniform(images, images.shape[1:], 0.0 if shift is None else shift[0])

    def offsets(self, values: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """u and log q(u|x): `[N, H, W, C]` twice `-> [N, H, W, C], [N]`."""
        return noise, tf.zeros(tf.shape(noise)[:1])

    def middle(self, values: tf.Tensor) -> float:
        """The offset at which images are encoded: the mean."""
        return 0.5


class VariationalDequantization(LayerOfLayers):
    """Offsets drawn from a flow conditioned on the image.

    Equations, with e standard normal noise, h the features of the image and g the steps of flow:

    - u = sigmoid(1.702 g(e; h)): nearly uniform before training
    - log q(u|x) = log N(e; 0, I) - log |det du/de|
    - log P(x) >= E_q [log p(x + u) - log q(u|x)], tighter than with uniform offsets

    Args:
        image_shape: (H, W, C), H and W even.
        depth: steps of flow, at half the resolution.
        width: hidden channels of the networks.
        network_dtype: dtype in which the networks compute, such as "bfloat16".
        name: name of the layer.

    Source: Ho et al., Flow++, 2019 (1902.00275), section 3.1.
    """

    num_tight_samples = 16

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        depth: int,
        width: int,
        network_dtype: str | None = None,
        name: str,
    ) -> None:
        squeeze = Squeeze(image_shape, name=f"{name}_squeeze")
        shape = squeeze.latent_shape
        dtype = network_dtype or "float32"
        features = networks.image_features(
            shape, width, width=width, dtype=dtype, name=f"{name}_features"
        )
        steps = [
            GlowStep(
                shape,
                width=width,
                context_channels=width,
                network_dtype=network_dtype,
                name=f"{name}_step{number}",
            )
            for number in range(depth)
        ]
        step_layers = [layer for step in steps for layer in step.layers]
        super().__init__({"_features": features, "_step_layers": step_layers}, name=name)
        self._squeeze, self.bijectors = squeeze, steps
        self._size = math.prod(image_shape)

    def noise_of_step(self, noise: StepNoise, image_shape: Sequence[int]) -> tf.Tensor:
        """The noise of a training step: `[N, H, W, C]`."""
        return noise.normal(image_shape)

    def noise_of_image(
        self, noise: ImageNoise, images: tf.Tensor, shift: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The noise of the images, shifted by `[2, H, W, C]`: `[N, H, W, C]`."""
        return noise.normal(images, images.shape[1:], 0.0 if shift is None else shift)

    def offsets(self, values: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """u and log q(u|x): `[N, H, W, C]` twice `-> [N, H, W, C], [N]`."""
        logits, log_det = self._logits(values, noise)
        log_normal = -0.5 * sum_over_event(noise**2)
        log_normal -= 0.5 * self._size * math.log(2.0 * math.pi)
        log_slope = log_sigmoid(logits) + log_sigmoid(-logits)  # accurate at both ends
        log_det += sum_over_event(log_slope)
        return tf.sigmoid(logits), log_normal - log_det

    def middle(self, values: tf.Tensor) -> tf.Tensor:
        """The offset at which images are encoded: the one for e = 0."""
        logits, _ = self._logits(values, tf.zeros_like(values))
        return tf.clip_by_value(tf.sigmoid(logits), 1.0 - LARGEST, LARGEST)

    def _logits(self, values, noise):
        squeezed, _ = self._squeeze._inverse_with_log_det(values)
        context = tf.cast(self._saved_layers["_features"](squeezed), tf.float32)
        z = self._squeeze._inverse_with_log_det(noise)[0]
        total = self._size * math.log(UNIFORM_SLOPE)
        for step in self.bijectors:
            z, log_det = step._forward_with_log_det(z, context)
            total += log_det
        return UNIFORM_SLOPE * self._squeeze._forward_with_log_det(z)[0], total


def dequantization_shift(draw: int, image_shape: Sequence[int]) -> np.ndarray:
    """The shift modulo 1 that a draw applies to the noise of every image; draw 0 shifts by 0.

    Shapes: `[2, H, W, C]` in [0, 1), for the two uniform numbers of normal noise.

    Source: Cranley and Patterson, Randomization of number theoretic methods for multiple
    integration, 1976; Ho et al., Flow++, 2019 (1902.00275), equation 13, for the mean of p / q over
    draws.
    """
    if draw == 0:
        return np.zeros([2, *image_shape], "float32")
    return np.random.RandomState(draw).uniform(size=[2, *image_shape]).astype("float32")
