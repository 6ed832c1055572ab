"""A VAE's prior over latents: p(z)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen.bijectors import GlowStep
from tfgen.errors import InputError


class NormalPrior:
    """p(z) = N(0, I).

    A prior has a `log_prob`, and maps standard normal noise e to latents and back: the latents of a
    model's `encode`, `decode` and `sample` are e.
    """

    def __init__(self) -> None:
        self.layers: list[keras.Layer] = []
        self.bijectors: list[GlowStep] = []

    def log_prob(self, latents: tf.Tensor) -> tf.Tensor:
        """log p(z) in nats: `[N, D] -> [N]`."""
        return log_normal(latents)

    def from_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """The latents z of noise e: `[N, D] -> [N, D]`."""
        return noise

    def to_noise(self, latents: tf.Tensor) -> tf.Tensor:
        """The noise e of latents z: `[N, D] -> [N, D]`."""
        return latents


class FlowPrior:
    """p(z): the distribution of standard normal noise after steps of flow on vectors.

    Equations, with f the steps and e standard normal: z = f(e),
    log p(z) = log N(f^-1(z); 0, I) + log |det df^-1/dz|.

    Before training f is a rotation, so that p(z) = N(0, I). Actnorm is not initialized from data,
    because the latents of an untrained encoder are already approximately standard normal.

    Args:
        latent_dim: D, at least 2.
        steps: number of `tfgen.bijectors.GlowStep`s.
        width: hidden units of the couplings.
        network_dtype: dtype in which the couplings' networks compute.
        name: name of the layers.

    Source: Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2016 (1605.08803);
    Chen et al., Variational lossy autoencoder, 2016 (1611.02731), section 3.2: a learned prior is
    an inverse flow in the posterior.
    """

    def __init__(
        self, latent_dim: int, *, steps: int, width: int, network_dtype: str | None, name: str
    ) -> None:
        self.bijectors = glow_steps(
            latent_dim, steps=steps, width=width, network_dtype=network_dtype, name=name
        )
        self.layers = [layer for step in self.bijectors for layer in step.layers]

    def log_prob(self, latents: tf.Tensor) -> tf.Tensor:
        """log p(z) in nats: `[N, D] -> [N]`."""
        noise, log_det = run_inverse(self.bijectors, latents)
        return log_normal(noise) + log_det

    def from_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """The latents z of noise e: `[N, D] -> [N, D]`."""
        for step in reversed(self.bijectors):
            noise = step.forward_and_log_det(noise)[0]
        return noise

    def to_noise(self, latents: tf.Tensor) -> tf.Tensor:
        """The noise e of latents z: `[N, D] -> [N, D]`."""
        return run_inverse(self.bijectors, latents)[0]


def glow_steps(
    latent_dim: int,
    *,
    steps: int,
    width: int,
    name: str,
    network_dtype: str | None = None,
    context_channels: int = 0,
) -> list[GlowStep]:
    """Steps of flow on vectors, which need at least two latents."""
    if latent_dim < 2:
        raise InputError(
            f"{name}: a flow divides the latents in two, so latent_dim must be at least 2, "
            f"got {latent_dim}"
        )
    return [
        GlowStep(
            (latent_dim,),
            width=width,
            context_channels=context_channels,
            network_dtype=network_dtype,
            name=f"{name}_step_{i}",
        )
        for i in range(steps)
    ]


def run_inverse(
    steps: Sequence[GlowStep], values: tf.Tensor, context: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply the steps' inverses in turn: values `[N, D]` and summed log-determinants `[N]`."""
    total = tf.zeros(tf.shape(values)[:1], values.dtype)
    for step in steps:
        values, log_det = step.inverse_and_log_det(values, context)
        total += log_det
    return values, total


def log_normal(values: tf.Tensor) -> tf.Tensor:
    """log N(values; 0, I) in nats: `[..., D] -> [...]`."""
    constant = 0.5 * values.shape[-1] * math.log(2.0 * math.pi)
    return -0.5 * tf.reduce_sum(values**2, axis=-1) - constant
