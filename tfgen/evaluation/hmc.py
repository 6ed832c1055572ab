"""Hamiltonian Monte Carlo over a VAE's latents, and an estimate of the marginal likelihood."""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf
from numpy.typing import ArrayLike
from tensorflow_probability import mcmc

from tfgen import checks
from tfgen.errors import InputError
from tfgen.models.vae import VAE

MAX_LATENTS = 5
TARGET_ACCEPTANCE = 0.9
LEAPFROG_STEPS = 10
JITTER = (0.7, 1.0)  # factors of the step size


def hmc_log_prob(
    model: VAE,
    images: ArrayLike,
    *,
    num_chains: int = 20,
    num_samples: int = 100,
    num_burnin_steps: int = 200,
    seed: int = 0,
) -> tf.Tensor:
    """log p(x) by the estimator of appendix D, for up to 5 latents.

    Equation: with z_1 ... z_L from p(z|x) by Hamiltonian Monte Carlo and a density q fitted to
    other such draws,

        1 / p(x) = E_p(z|x)[q(z) / p(x, z)],   so   log p(x) = -log(1/L sum_l q(z_l) / p(x, z_l))

    q is the Gaussian with mean and covariance of the draws of one half of the chains; the mean is
    taken over the other half. It is not a bound, and its variance grows fast with the number of
    latents.

    Shapes: uint8 `[N, H, W, C] -> float32 [N]`, nats.

    Args:
        model: a VAE with at most 5 latents.
        images: as for `model.log_prob`, which uses the same binarization.
        num_chains: number of chains per image, which is even; they start at draws from q(z|x).
        num_samples: draws kept per chain.
        num_burnin_steps: transitions before the first draw that is kept; they adapt the step size.
        seed: seed of all random numbers.

    Raises:
        InputError: the model has more than 5 latents, or num_chains is not an even number >= 2.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (1312.6114), appendix D.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation.hmc import hmc_log_prob
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[8])
    >>> images = tfgen.data.load("digits").images("test")[:2]
    >>> hmc_log_prob(model, images, num_chains=4, num_samples=20, num_burnin_steps=20).shape
    TensorShape([2])
    """
    if model.latent_dim > MAX_LATENTS:
        raise InputError(
            f"the estimator of appendix D needs at most {MAX_LATENTS} latents, {model.name} has "
            f"{model.latent_dim}: use log_prob(images, num_samples=5000)"
        )
    if checks.integer("num_chains", num_chains, 2) % 2:
        raise InputError(f"num_chains must be even, got {num_chains}")
    observed = model.observe(tf.convert_to_tensor(images))
    encoded = model.encoder_outputs(observed)
    count = observed.shape[0]
    noise = tf.random.stateless_normal([count, num_chains, 1, model.latent_dim], [seed, 0])
    start = model.posterior.sample(encoded, noise)[0][:, :, 0]
    draws = posterior_samples(
        model,
        observed,
        start,
        num_samples=num_samples,
        num_burnin_steps=num_burnin_steps,
        seed=[seed, 1],
    )
    fitted, averaged = tf.split(draws, 2, axis=2)  # [num_samples, N, num_chains / 2, D] each
    together = tf.reshape(tf.transpose(fitted, [1, 0, 2, 3]), [count, -1, model.latent_dim])
    averaged = tf.reshape(tf.transpose(averaged, [1, 0, 2, 3]), [count, -1, model.latent_dim])
    log_joint = tf.concat(
        [
            log_joint_of(model, observed[i : i + 1])(averaged[i : i + 1])
            for i in range(count)  # One image at a time bounds the memory of the decoder.
        ],
        axis=0,
    )
    log_ratio = _fitted_log_density(together, averaged) - log_joint
    return math.log(averaged.shape[1]) - tf.reduce_logsumexp(log_ratio, axis=1)


def posterior_samples(
    model: VAE,
    observed: tf.Tensor,
    start: tf.Tensor,
    *,
    num_samples: int,
    num_burnin_steps: int,
    seed: Sequence[int],
) -> tf.Tensor:
    """Draws from p(z|x), with a step size per image at which 90 % of the proposals are accepted.

    The step size is adapted during the burn-in. Afterwards each transition multiplies it by a
    random factor, because trajectories of one fixed length may return to their start.

    Shapes: `[N, H, W, C]`, chains `[N, C, D] -> [samples, N, C, D]`.

    Source: Neal, MCMC using Hamiltonian dynamics, 2011 (1206.1901), sections 3.2 and 4.2; Hoffman
    and Gelman, The No-U-Turn sampler, 2014 (1111.4246), section 3.2, for the step size.
    """

    @tf.function(autograph=False)
    def run(observed, start):
        log_joint = log_joint_of(model, observed)
        keys = tf.random.experimental.stateless_split(tf.constant(seed, tf.int32), num_samples + 1)
        adapted = mcmc.sample_chain(
            1,
            start,
            kernel=mcmc.DualAveragingStepSizeAdaptation(
                _transition(log_joint, 0.1 * tf.ones([tf.shape(start)[0], 1, 1])),
                num_adaptation_steps=num_burnin_steps - 1,
                target_accept_prob=TARGET_ACCEPTANCE,
            ),
            num_burnin_steps=num_burnin_steps - 1,
            trace_fn=None,
            return_final_kernel_results=True,
            seed=keys[0],
        )
        step_size = adapted.final_kernel_results.new_step_size

        def transition(latents, key):
            of_factor, of_step = tf.unstack(tf.random.experimental.stateless_split(key, 2))
            factor = tf.random.stateless_uniform([], of_factor, *JITTER)
            kernel = _transition(log_joint, step_size * factor)
            return kernel.one_step(latents, kernel.bootstrap_results(latents), seed=of_step)[0]

        return tf.scan(transition, keys[1:], initializer=adapted.all_states[-1])

    return run(observed, start)


def _transition(log_joint, step_size):
    return mcmc.HamiltonianMonteCarlo(
        log_joint, step_size=step_size, num_leapfrog_steps=LEAPFROG_STEPS
    )


def log_joint_of(model: VAE, observed: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """log p(x, z) as a function of latents: `[N, C, D] -> [N, C]`, nats."""
    return lambda latents: model.joint_density(observed, latents).log_prob


def _fitted_log_density(draws, values):
    """Log-density of `values` under a Gaussian fitted to `draws`.

    Shapes: `[N, S, D]`, `[N, M, D] -> [N, M]`.
    """
    mean = tf.reduce_mean(draws, axis=1, keepdims=True)
    centered = draws - mean
    size = draws.shape[-1]
    covariance = tf.matmul(centered, centered, transpose_a=True) / (draws.shape[1] - 1)
    root = tf.linalg.cholesky(covariance + 1e-8 * tf.eye(size))
    standardized = tf.linalg.triangular_solve(root, tf.transpose(values - mean, [0, 2, 1]))
    log_det = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(root)), axis=-1)
    return (
        -0.5 * tf.reduce_sum(standardized**2, axis=1)
        - log_det[:, None]
        - 0.5 * size * math.log(2.0 * math.pi)
    )
