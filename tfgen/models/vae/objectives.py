"""Bounds of the log-likelihood, and their annealed variants."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf
from numpy.typing import ArrayLike


def weighted_bound(
    log_likelihood: ArrayLike | tf.Tensor,
    divergence: ArrayLike | tf.Tensor,
    beta: float | tf.Tensor = 1.0,
) -> tf.Tensor:
    """A bound of log p(x) from terms at latents drawn from q(z|x).

    Equation: mean over L samples of log(1/k sum_i p(x|z_i) (p(z_i) / q(z_i|x))^beta), with
    divergence = log q(z|x) - log p(z). With k = 1 and beta = 1 it is the evidence lower bound, with
    k > 1 the importance-weighted bound.

    Shapes: log p(x|z) `[N, L, k]` and a divergence that broadcasts with it `-> [N]`, nats.

    Source: Kingma and Welling, 2013 (1312.6114), equations 6 and 7; Burda, Grosse and
    Salakhutdinov, 2015 (1509.00519), equation 8; Higgins et al., beta-VAE, 2017, equation 4.

    Example:

    >>> from tfgen.models.vae.objectives import weighted_bound
    >>> print(weighted_bound([[[-3.0, -3.0]]], [[[1.0, 1.0]]]).numpy())
    [-4.]
    """
    log_weights = tf.convert_to_tensor(log_likelihood) - beta * tf.convert_to_tensor(divergence)
    num_samples = log_weights.shape[2]
    if num_samples == 1:
        return tf.reduce_mean(log_weights, axis=[1, 2])
    log_mean = tf.reduce_logsumexp(log_weights, axis=2) - math.log(num_samples)
    return tf.reduce_mean(log_mean, axis=1)


def resampled(
    log_weights: ArrayLike | tf.Tensor, uniform: ArrayLike | tf.Tensor, count: int
) -> tf.Tensor:
    """Indices of m of k samples, each drawn in proportion to its weight.

    The gradient of the importance-weighted bound is sum_i w_i grad log w_i with weights w that sum
    to one: the expectation of grad log w at a sample drawn with probabilities w. So a backward pass
    through a few drawn samples gives an unbiased estimate of the gradient through all k.

    Equation: the smallest j with w_0 + ... + w_j > (u + i) / m for i < m, systematic resampling:
    index j occurs m w_j times, rounded up or down at random.

    Shapes: `[..., k]` unnormalized, `[...]` uniform in [0, 1) `-> [..., m]`, int32.

    Args:
        log_weights: logarithms of the samples' weights.
        uniform: u.
        count: m.

    Source: Burda, Grosse and Salakhutdinov, 2015 (1509.00519), section 3; Carpenter, Clifford and
    Fearnhead, Improved particle filter for nonlinear problems, 1999.

    Example:

    >>> from tfgen.models.vae.objectives import resampled
    >>> print(resampled([0.0, 0.0, -99.0, 0.0], 0.1, 6).numpy())
    [0 0 1 1 3 3]
    """
    thresholds = tf.cumsum(tf.nn.softmax(log_weights, axis=-1), axis=-1)[..., :-1]
    uniform = tf.convert_to_tensor(uniform)[..., None]
    positions = (uniform + tf.range(count, dtype=uniform.dtype)) / count
    passed = positions[..., None] >= thresholds[..., None, :]
    return tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1)


def gaussian_divergences(
    mean: ArrayLike | tf.Tensor, log_variance: ArrayLike | tf.Tensor
) -> tf.Tensor:
    """KL(N(mu_j, sigma_j^2) || N(0, 1)) of each latent.

    Equation: 1/2 (mu^2 + sigma^2 - 1 - log sigma^2).

    Shapes: `[..., D]` twice `-> [..., D]`, nats.

    Source: Kingma and Welling, 2013 (1312.6114), appendix B.

    Example:

    >>> from tfgen.models.vae.objectives import gaussian_divergences
    >>> print(gaussian_divergences([1.0, 0.0], [0.0, 0.0]).numpy())
    [0.5 0. ]
    """
    mean, log_variance = tf.convert_to_tensor(mean), tf.convert_to_tensor(log_variance)
    return 0.5 * (mean**2 + tf.exp(log_variance) - 1.0 - log_variance)


def with_free_bits(
    divergences: tf.Tensor, minimum: float, mean_over_batch: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """The sum of divergences, each group's mean over the batch replaced by `minimum` if smaller.

    Equation: the mean over the batch of the result is sum_j max(minimum, mean over the batch of
    divergences_j), with its gradient. The means are those of the global batch, on every replica.

    Shapes: `[N, G] -> [N]`, nats.

    Args:
        divergences: divergence per image and group of latents.
        minimum: nats per group that are not penalized.
        mean_over_batch: a function from `[N, G]` to the mean over the global batch, `[G]`.

    Source: Kingma et al., Improving variational inference with inverse autoregressive flow, 2016
    (1606.04934), equation 15.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.models.vae.objectives import with_free_bits
    >>> mean = lambda x: tf.reduce_mean(x, axis=0)
    >>> print(with_free_bits(tf.constant([[0.2, 3.0], [0.4, 5.0]]), 0.5, mean).numpy())
    [3.5 5.5]
    """
    means = tf.stop_gradient(mean_over_batch(divergences))
    return tf.reduce_sum(tf.where(means > minimum, divergences, minimum), axis=-1)


def annealed(beta: float, steps: float, step: tf.Tensor | int) -> tf.Tensor:
    """A weight that rises linearly from 0 to beta during the first steps of training.

    Source: Bowman et al., Generating sentences from a continuous space, 2015 (1511.06349), section
    3.1; Sønderby et al., Ladder variational autoencoders, 2016 (1602.02282), section 2.2.

    Example:

    >>> from tfgen.models.vae.objectives import annealed
    >>> [float(annealed(2.0, 100, step)) for step in (0, 50, 1000)]
    [0.0, 1.0, 2.0]
    """
    step = tf.cast(tf.convert_to_tensor(step), tf.float32)
    return beta * tf.minimum(1.0, step / steps)
