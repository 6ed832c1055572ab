"""The prior of a class-conditional flow, and its auxiliary classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

CLASS_PRIORS = ("channel", "pixel")


class ClassPrior(keras.layers.Layer):
    """A Gaussian per class, in place of the standard normal prior of the last level's latents.

    Equations, with t the latents of the last level, m_y and s_y of class y:

    - p(t|y) = N(m_y, s_y), initially N(0, 1) for every class. With varies="channel" m_y and s_y are
      the same at every pixel, as in the paper; with "pixel" each pixel has its own. A flow with few
      levels needs this, because its last level still resolves where a stroke is.
    - logits(t) = K mean(t over pixels) + b, for the auxiliary classification loss

    Args:
        num_classes: number of classes.
        top_shape: (H, W, C) of the latents of the last level.
        varies: "channel" or "pixel": whether m_y and s_y vary over channels only, or over pixels
            too.
        name: name of the layer.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5, and the authors' code.
    """

    def __init__(
        self,
        num_classes: int,
        top_shape: Sequence[int],
        *,
        varies: str = "channel",
        name: str,
    ) -> None:
        super().__init__(name=name)
        height, width, channels = top_shape
        self._latents = [height * width, channels]
        shape = (num_classes, height * width if varies == "pixel" else 1, channels)
        zeros = {"initializer": "zeros"}
        self._mean = self.add_weight(shape=shape, name="mean", **zeros)
        self._log_scale = self.add_weight(shape=shape, name="log_scale", **zeros)
        self._kernel = self.add_weight(shape=(channels, num_classes), name="kernel", **zeros)
        self._bias = self.add_weight(shape=(num_classes,), name="bias", **zeros)
        self.built = True

    def log_ratios(self, top: tf.Tensor) -> tf.Tensor:
        """log N(t; m_y, s_y) - log N(t; 0, 1) for every class, in nats: `[N, H*W*C] -> [N, K]`."""
        mean, log_scale = self._of_every_latent(self._mean), self._of_every_latent(self._log_scale)
        precision = tf.exp(-2.0 * log_scale)
        return (
            tf.matmul(top**2, 0.5 * (1.0 - precision), transpose_b=True)
            + tf.matmul(top, mean * precision, transpose_b=True)
            - tf.reduce_sum(0.5 * mean**2 * precision + log_scale, axis=-1)
        )

    def logits(self, top: tf.Tensor) -> tf.Tensor:
        """The logits of the auxiliary classifier: `[N, H*W*C] -> [N, K]`."""
        top = tf.reduce_mean(tf.reshape(top, [-1, *self._latents]), axis=1)
        return tf.matmul(top, self._kernel.value) + self._bias.value

    def from_noise(self, noise: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """m_y + s_y * noise: `[N, H*W*C]`, int32 `[N] -> [N, H*W*C]`."""
        mean = tf.gather(self._mean.value, labels)
        scale = tf.exp(tf.gather(self._log_scale.value, labels))
        latents = mean + scale * tf.reshape(noise, [-1, *self._latents])
        return tf.reshape(latents, [-1, math.prod(self._latents)])

    def _of_every_latent(self, weight):
        """`[K, 1, C]` or `[K, H*W, C] -> [K, H*W*C]`."""
        classes = weight.shape[0]
        every = tf.broadcast_to(weight.value, [classes, *self._latents])
        return tf.reshape(every, [classes, math.prod(self._latents)])
