"""The algorithms that the paper compares AEVB with: wake-sleep and Monte Carlo EM.

Both are VAEs with different training gradients: `compile`, `fit` and the verbs are those of
`tfgen.models.VAE`. They are for comparisons only; no recipe uses them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import mcmc

from tfgen import checks
from tfgen.errors import InputError
from tfgen.evaluation import hmc
from tfgen.models.vae import VAE, objectives
from tfgen.models.vae.prior import log_normal

ADAPTATION_RATE = 0.05


@keras.saving.register_keras_serializable(package="tfgen")
class WakeSleep(VAE):
    """A VAE trained by the wake-sleep algorithm.

    Equations, each a step of the same optimizer on the same minibatch:

    - wake, for the decoder: maximize log p(x, z) at z ~ q(z|x), which is held fixed
    - sleep, for the encoder: maximize log q(z|x) at (x, z) ~ p(x, z), which is held fixed

    The two phases do not maximize the same bound. The bits/dim reported during training are those
    of the evidence lower bound of the wake phase.

    Args: those of `tfgen.models.VAE`, with prior "normal" and posterior "gaussian".

    Raises:
        InputError: a flow, importance samples, or another option that the baseline does not have.

    Source: Hinton, Dayan, Frey and Neal, The "wake-sleep" algorithm for unsupervised neural
    networks, 1995; Kingma and Welling, 2013 (1312.6114), section 5, figure 2.

    Example:

    >>> import tfgen
    >>> images = tfgen.data.load("digits").images("train")[:64]
    >>> model = tfgen.claims.baselines.WakeSleep((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> model.compile(tfgen.optimizers.Adam(1e-3))
    >>> history = model.fit(images, batch_size=32, verbose=0)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        latent_dim: int,
        name: str = "wake_sleep",
        **options: Any,
    ) -> None:
        super().__init__(image_shape, latent_dim=latent_dim, name=name, **options)
        _check_plain(self)

    def _training_loss(self, images, labels, noise):
        observed = self.observe(images, noise)
        encoded = self.encoder_outputs(observed)
        latents = self.posterior.sample(encoded, noise.normal((1, 1, self.latent_dim)))[0]
        joint = self.joint_density(observed, tf.stop_gradient(latents))
        wake = -joint.log_prob[:, 0, 0]

        dreamed = tf.stop_gradient(self.prior.from_noise(noise.normal((self.latent_dim,))))
        outputs = tf.stop_gradient(self.decoder_outputs(dreamed))
        pixels = self._likelihood.draw(outputs, noise.uniform((self.num_dims,)))
        pixels = tf.reshape(pixels, [-1, *self.image_shape])
        mean, log_variance, _ = self.posterior.parameters(self.encoder_outputs(pixels))
        standardized = (dreamed - mean) * tf.exp(-0.5 * log_variance)
        sleep = 0.5 * tf.reduce_sum(log_variance, axis=-1) - log_normal(standardized)

        divergences = objectives.gaussian_divergences(*self.posterior.parameters(encoded)[:2])
        kl, reconstruction = tf.reduce_sum(divergences, axis=-1), -joint.log_likelihood[:, 0, 0]
        return kl + reconstruction, wake + sleep, {"reconstruction": reconstruction, "kl": kl}


@keras.saving.register_keras_serializable(package="tfgen")
class MonteCarloEM(VAE):
    """A VAE's decoder trained by Monte Carlo expectation maximization.

    Equations, at each step:

    - E: z ~ p(z|x) by Hamiltonian Monte Carlo, `transitions` of 10 leapfrog steps from a draw of
      the prior; the step size follows an acceptance of 90 %
    - M: maximize log p(x, z), one step of the optimizer (the paper takes five with one z)

    The encoder is not trained, so `log_prob` is not meaningful; use
    `tfgen.evaluation.hmc.hmc_log_prob` instead. The bits/dim reported during training are those of
    -log p(x, z).

    Args: those of `tfgen.models.VAE`, with prior "normal" and posterior "gaussian", and
        transitions: number of transitions of each chain.

    Raises:
        InputError: a flow, importance samples, or another option that the baseline does not have;
            transitions below 1.

    Source: Wei and Tanner, A Monte Carlo implementation of the EM algorithm, 1990; Kingma and
    Welling, 2013 (1312.6114), section 5, figure 3, appendix E.

    Example:

    >>> import tfgen
    >>> images = tfgen.data.load("digits").images("train")[:64]
    >>> model = tfgen.claims.baselines.MonteCarloEM((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> model.compile(tfgen.optimizers.Adam(1e-3))
    >>> history = model.fit(images, batch_size=32, verbose=0)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        latent_dim: int,
        transitions: int = 10,
        name: str = "monte_carlo_em",
        **options: Any,
    ) -> None:
        super().__init__(image_shape, latent_dim=latent_dim, name=name, **options)
        _check_plain(self)
        self.transitions = checks.integer(f"{name}: transitions", transitions, 1)
        self.encoder.trainable = False
        self.log_step_size = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(math.log(0.1)),
            trainable=False,
            aggregation="mean",
            name="log_step_size",
        )

    reported_parts = ()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "transitions": self.transitions}

    def _training_loss(self, images, labels, noise):
        observed = self.observe(images, noise)
        start = self.prior.from_noise(noise.normal((self.latent_dim,)))[:, None]
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int32)
        chain, accepted = mcmc.sample_chain(
            self.transitions,
            start,
            kernel=mcmc.HamiltonianMonteCarlo(
                hmc.log_joint_of(self, observed),
                step_size=tf.exp(tf.convert_to_tensor(self.log_step_size)),
                num_leapfrog_steps=hmc.LEAPFROG_STEPS,
            ),
            trace_fn=lambda _, results: results.is_accepted,
            seed=tf.stack([tf.constant(self._seed, tf.int32), step]),
        )
        acceptance = tf.reduce_mean(tf.cast(accepted, tf.float32))
        self.log_step_size.assign_add(ADAPTATION_RATE * (acceptance - hmc.TARGET_ACCEPTANCE))
        nll = -self.joint_density(observed, tf.stop_gradient(chain[-1])).log_prob[:, 0]
        return nll, nll, {}

    def _evaluation(self, images, labels):
        return super()._evaluation(images, labels)[0], {}


def _check_plain(model):
    plain = {
        "prior": "normal",
        "posterior": "gaussian",
        "estimator": "B",
        "num_monte_carlo_samples": 1,
        "num_importance_samples": 1,
        "beta": 1.0,
        "kl_warmup": 0,
        "free_bits": 0.0,
        "map_num_examples": 0,
        "mse_weight": 0.0,
    }
    for argument, value in plain.items():
        if model.settings[argument] != value:
            raise InputError(
                f"{model.name}: {argument} must be {value!r}, got "
                f"{model.settings[argument]!r}: the baseline does not have this option"
            )
