"""Wake-sleep and Monte Carlo EM: their gradients, and that they learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfgen
from tfgen.claims.baselines import MonteCarloEM, WakeSleep
from tfgen.errors import InputError
from tfgen.evaluation import hmc
from tfgen.models.noise import StepNoise
from tfgen.models.vae.density import JointDensity


@pytest.fixture(scope="module")
def digits():
    return tfgen.data.load("digits").images("train")[:256]


def small(cls, **options):
    model = cls((8, 8, 1), latent_dim=2, hidden_units=[16], **options)
    model.compile(tfgen.optimizers.Adam(3e-3), seed=1)
    return model


def gradients(model, images, weights):
    with tf.GradientTape() as tape:
        noise = StepNoise(1, 0, images)
        nats, losses, _ = model._training_loss(tf.constant(images), None, noise)
        loss = tf.reduce_sum(losses)
    return nats, tape.gradient(loss, [w.value for w in weights])


def test_the_wake_phase_trains_the_decoder_as_aevb_does(digits):
    """For the same draws from q(z|x), both follow the gradient of log p(x|z)."""
    ours = small(WakeSleep)
    aevb = small(tfgen.models.VAE)
    aevb.set_weights(ours.get_weights())
    own_nats, own = gradients(ours, digits[:8], ours.decoder.trainable_weights)
    nats, expected = gradients(aevb, digits[:8], aevb.decoder.trainable_weights)
    np.testing.assert_allclose(own_nats, nats, rtol=1e-5)
    for one, other in zip(own, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_sleep_phase_trains_the_encoder_on_samples_of_the_model(digits):
    model = small(WakeSleep)
    weights = model.encoder.trainable_weights
    _, found = gradients(model, digits[:8], weights)
    noise = StepNoise(1, 0, digits[:8])
    noise.uniform(model.image_shape)  # the binarization
    noise.normal((1, 1, 2))  # the wake phase
    dreamt = noise.normal((2,)).numpy()
    probabilities = tf.sigmoid(model.decoder(dreamt)).numpy()
    pixels = (noise.uniform((64,)).numpy() < probabilities).astype("float32")
    with tf.GradientTape() as tape:
        mean, log_variance = tf.split(model.encoder(pixels), 2, axis=-1)
        deviation = tf.exp(0.5 * log_variance)
        z = (dreamt - mean) / deviation
        log_q = tf.reduce_sum(-0.5 * z**2 - tf.math.log(deviation))
        loss = -log_q
    expected = tape.gradient(loss, [w.value for w in weights])
    np.testing.assert_allclose(
        loss + 8 * np.log(2 * np.pi),
        -stats.norm.logpdf(dreamt, mean, deviation).sum(),
        rtol=1e-4,
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_both_baselines_raise_the_likelihood(digits):
    for cls in (WakeSleep, MonteCarloEM):
        keras.utils.set_random_seed(0)
        model = small(cls)
        options = {"num_chains": 4, "num_samples": 30, "num_burnin_steps": 60}
        before = np.mean(hmc.hmc_log_prob(model, digits[:10], **options))
        model.fit(digits, batch_size=32, epochs=8, verbose=0)
        assert np.mean(hmc.hmc_log_prob(model, digits[:10], **options)) > before + 5


def test_the_step_size_of_monte_carlo_em_follows_the_acceptance(digits):
    model = small(MonteCarloEM, transitions=3)
    model.log_step_size.assign(np.log(50.0))
    model.fit(digits[:64], batch_size=32, epochs=2, verbose=0)
    assert float(model.log_step_size) == pytest.approx(np.log(50.0) - 4 * 0.05 * 0.9, abs=0.02)


def test_a_step_of_hmc_preserves_the_posterior(digits):
    """On draws from a Gaussian model's posterior, whose mean and variance are known."""

    class Linear:
        latent_dim = 1

        def joint_density(self, observed, latents):
            z = latents[..., 0]
            return JointDensity(-2.0 * (observed - z) ** 2, -0.5 * z**2, None)

    observed = tf.constant([[0.5], [-1.0]])  # p(z|x) = N(0.8 x, 0.2)
    draws = hmc.posterior_samples(
        Linear(), observed, tf.zeros([2, 50, 1]), num_samples=100, num_burnin_steps=100, seed=[0, 0]
    )
    draws = np.asarray(draws)[..., 0]
    np.testing.assert_allclose(draws.mean(axis=(0, 2)), [0.4, -0.8], atol=0.03)
    np.testing.assert_allclose(draws.var(axis=(0, 2)), 0.2, rtol=0.1)


def test_options_that_the_baselines_lack_are_refused():
    for options in ({"prior": "flow"}, {"num_importance_samples": 5}, {"beta": 2.0}):
        with pytest.raises(InputError, match="the baseline does not have this option"):
            WakeSleep((8, 8, 1), latent_dim=2, **options)
    with pytest.raises(InputError, match="transitions must be a positive integer, got 0"):
        MonteCarloEM((8, 8, 1), latent_dim=2, transitions=0)
