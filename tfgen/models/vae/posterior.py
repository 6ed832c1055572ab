"""A VAE's approximate posterior: q(z|x)."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from tfgen.bijectors import GlowStep
from tfgen.models.vae.prior import glow_steps, log_normal, run_inverse


class GaussianPosterior:
    """q(z|x) = N(mu(x), sigma(x)^2), with mu and log sigma^2 the outputs of an encoder.

    Equations, with e standard normal noise:

    - z = mu + sigma e
    - log q(z|x) = log N(e; 0, I) - sum(log sigma)
    - E_q[log q(z|x)] = -1/2 (D + D log 2 pi) - sum(log sigma)

    Args:
        latent_dim: D.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (1312.6114), sections 2.4
    and 3, appendix B.
    """

    def __init__(self, latent_dim: int) -> None:
        self.layers: list[keras.Layer] = []
        self.bijectors: list[GlowStep] = []
        self.latent_dim = latent_dim
        self.encoder_outputs = 2 * latent_dim

    def parameters(self, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """mu and log sigma^2, `[N, D]`, and the context of a flow, from the encoder's outputs."""
        mean, log_variance = tf.split(outputs, 2, axis=-1)
        return mean, log_variance, None

    def center(self, outputs: tf.Tensor) -> tf.Tensor:
        """The latent at e = 0: `[N, encoder_outputs] -> [N, D]`."""
        return self.parameters(outputs)[0]

    def sample(
        self, outputs: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Latents computed from noise, with log q(z|x) and its partly analytic expectation.

        Shapes: `[N, encoder_outputs]`, noise `[N, ..., D] -> [N, ..., D]`, `[N, ...]`, `[N, ...]`.

        Returns:
            The latents; log q(z|x); log q(z|x) with log N(e; 0, I) replaced by its expectation.
        """
        mean, log_variance, context = self.parameters(outputs)
        for _ in noise.shape[1:-1]:
            mean, log_variance = mean[:, None], log_variance[:, None]
        latents = mean + tf.exp(0.5 * log_variance) * noise
        latents, log_det = self._transform(latents, context)
        rest = -0.5 * tf.reduce_sum(log_variance, axis=-1) - log_det
        negative_entropy = -0.5 * self.latent_dim * (1.0 + math.log(2.0 * math.pi))
        return latents, log_normal(noise) + rest, negative_entropy + rest

    def _transform(self, latents, context):
        return latents, 0.0


class FlowPosterior(GaussianPosterior):
    """q(z|x): a Gaussian transformed by steps of flow that are conditioned on the image.

    Equations, with g_h the steps, h the features, e standard normal noise:

    - z = g_h(mu + sigma e)
    - log q(z|x) = log N(e; 0, I) - sum(log sigma) - log |det dg_h|

    Before training g_h is a rotation.

    Args:
        latent_dim: D, at least 2.
        steps: number of `tfgen.bijectors.GlowStep`s.
        width: hidden units of the couplings.
        context_channels: size of h, which follows mu and log sigma^2 in the encoder's outputs.
        network_dtype: dtype in which the couplings' networks compute.
        name: name of the layers.

    Source: Rezende and Mohamed, Variational inference with normalizing flows, 2015 (1505.05770);
    Kingma et al., Improving variational inference with inverse autoregressive flow, 2016
    (1606.04934), section 4, whose steps are conditioned on h too.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        steps: int,
        width: int,
        context_channels: int,
        network_dtype: str | None,
        name: str,
    ) -> None:
        super().__init__(latent_dim)
        self.encoder_outputs = 2 * latent_dim + context_channels
        self._context_channels = context_channels
        self.bijectors = glow_steps(
            latent_dim,
            steps=steps,
            width=width,
            context_channels=context_channels,
            network_dtype=network_dtype,
            name=name,
        )
        self.layers = [layer for step in self.bijectors for layer in step.layers]

    def parameters(self, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        return tf.split(
            outputs, [self.latent_dim, self.latent_dim, self._context_channels], axis=-1
        )

    def center(self, outputs: tf.Tensor) -> tf.Tensor:
        mean, _, context = self.parameters(outputs)
        return self._transform(mean, context)[0]

    def _transform(self, latents, context):
        shape = tf.shape(latents)
        for _ in latents.shape[1:-1]:
            context = context[:, None]
        target = tf.concat([shape[:-1], tf.shape(context)[-1:]], axis=0)
        context = tf.broadcast_to(context, target)
        flat = tf.reshape(latents, [-1, self.latent_dim])
        context = tf.reshape(context, [-1, self._context_channels])
        transformed, log_det = run_inverse(self.bijectors, flat, context)
        return tf.reshape(transformed, shape), tf.reshape(log_det, shape[:-1])
