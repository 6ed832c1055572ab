"""What training a VAE maximizes: bounds of the log-likelihood, and their annealed relatives."""

import math

import tensorflow as tf


def weighted_bound(reconstruction, divergence, beta=1.0):
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
    log_weights = tf.convert_to_tensor(reconstruction) - beta * tf.convert_to_tensor(divergence)
    importance_samples = log_weights.shape[2]
    if importance_samples == 1:
        return tf.reduce_mean(log_weights, axis=[1, 2])
    log_mean = tf.reduce_logsumexp(log_weights, axis=2) - math.log(importance_samples)
    return tf.reduce_mean(log_mean, axis=1)


def resampled(log_weights, uniform, count):
    """Which of k samples stand for all of them, each drawn in proportion to its weight.

    The gradient of the importance-weighted bound is sum_i w_i grad log w_i with weights w that sum
    to one, the expectation of grad log w at a sample drawn by w. So a backward pass through a few
    drawn samples is as right in expectation as one through all k.

    Equation: the least j with w_0 + ... + w_j > (u + i) / m for i < m, systematic resampling: index
    j is drawn m w_j times, rounded up or down at random.

    Shapes: `[..., k]` unnormalized, `[...]` uniform in [0, 1) `-> [..., m]`, int32.

    Args:
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


def gaussian_divergences(mean, log_variance):
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


def with_free_bits(divergences, minimum, mean_over_batch):
    """Divergences of which each group's mean over the batch counts as `minimum` if it is less.

    Equation: the mean over the batch of the result is sum_j max(minimum, mean over the batch of
    divergences_j), with its gradient. The means are taken before any replica decides.

    Shapes: `[N, G] -> [N]`, nats.

    Args:
        divergences: of each image and group of latents.
        minimum: nats of a group that cost nothing.
        mean_over_batch: a function of `[N, G]` that gives the global batch's `[G]`.

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


def annealed(beta, steps, step):
    """beta, reached in a straight line from 0 during the first steps of training.

    Source: Bowman et al., Generating sentences from a continuous space, 2015 (1511.06349), section
    3.1; Sønderby et al., Ladder variational autoencoders, 2016 (1602.02282), section 2.2.

    Example:

    >>> from tfgen.models.vae.objectives import annealed
    >>> [float(annealed(2.0, 100, step)) for step in (0, 50, 1000)]
    [0.0, 1.0, 2.0]
    """
    step = tf.cast(tf.convert_to_tensor(step), tf.float32)
    return beta * tf.minimum(1.0, step / steps)
