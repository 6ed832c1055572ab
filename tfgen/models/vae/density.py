"""The densities that a VAE's bounds are made of."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfgen.models.vae import objectives


class JointDensity(NamedTuple):
    """log p(x, z) in nats at latents `[N, ..., D]`, each field `[N, ...]`.

    Attributes:
        log_likelihood: log p(x|z).
        log_prior: log p(z).
        squared_error: squared error between the image of z and x, with pixels in [0, 1].
    """

    log_likelihood: tf.Tensor
    log_prior: tf.Tensor
    squared_error: tf.Tensor

    @property
    def log_prob(self) -> tf.Tensor:
        """log p(x, z)."""
        return self.log_likelihood + self.log_prior


class BoundTerms(NamedTuple):
    """The terms of a bound of log p(x), in nats, at latents drawn from q(z|x).

    Attributes:
        log_likelihood: log p(x|z), `[N, L, k]`.
        divergence: log q(z|x) - log p(z), or its expectation; it broadcasts with `[N, L, k]`.
        divergence_per_latent: KL(q(z_j|x) || p(z_j)), `[N, D]`; None with flows, under which the
            latents depend on each other.
        squared_error: squared error between the image of z and x, `[N, L, k]`.
    """

    log_likelihood: tf.Tensor
    divergence: tf.Tensor
    divergence_per_latent: tf.Tensor | None
    squared_error: tf.Tensor

    def bound(self, beta: float | tf.Tensor = 1.0) -> tf.Tensor:
        """`tfgen.models.vae.objectives.weighted_bound` of the terms: `[N]`."""
        return objectives.weighted_bound(self.log_likelihood, self.divergence, beta)

    def parts(self) -> dict[str, tf.Tensor]:
        """The two parts of the negative evidence lower bound of the latents, in nats.

        Equations: reconstruction = -mean log p(x|z), kl = mean(log q(z|x) - log p(z)), or the
        expectation that takes its place, with means over all L k samples. Their sum is the negative
        evidence lower bound: with k = 1 the negative of `bound()`, with k > 1 at least as large.

        Shapes: `[N]` each.
        """
        return {
            "reconstruction": -tf.reduce_mean(self.log_likelihood, axis=[1, 2]),
            "kl": tf.reduce_mean(self.divergence, axis=[1, 2]),
        }
