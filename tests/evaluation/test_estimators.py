"""Estimators of log p(x) against integration over a grid, and the latents that are in use."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import hmc, latent_statistics, quadrature
from tfgen.models.noise import ImageNoise
from tfgen.models.vae import importance_sampling


@pytest.fixture(scope="module")
def digits():
    return tfgen.data.load("digits")


@pytest.fixture(scope="module")
def model(digits):
    """A model trained for two seconds, whose posteriors are narrow and bent like real ones."""
    keras.utils.set_random_seed(0)
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[32])
    model.compile(tfgen.optimizers.Adam(3e-3))
    model.fit(digits.images("train"), batch_size=64, epochs=15, verbose=0)
    return model


@pytest.fixture(scope="module")
def exact(model, digits):
    return quadrature.quadrature_log_prob(model, digits.images("test")[:20], num_points=401)


def test_the_grid_is_fine_and_wide_enough(model, exact, digits):
    images = digits.images("test")[:20]
    coarse = quadrature.quadrature_log_prob(model, images, limit=7.0, num_points=301)
    np.testing.assert_allclose(coarse, exact, atol=2e-3)


def test_importance_sampling_is_calibrated(model, exact, digits):
    images = digits.images("test")[:20]
    errors = {k: model.log_prob(images, num_samples=k).numpy() - exact for k in (5, 200, 5000)}
    assert errors[5].std() > errors[200].std() > errors[5000].std()
    assert np.abs(errors[5000]).max() < 0.2
    assert abs(errors[5000].mean()) < 0.03


@pytest.mark.slow
def test_appendix_d_is_calibrated(model, exact, digits):
    found = hmc.hmc_log_prob(model, digits.images("test")[:20]).numpy()
    assert np.abs(found - exact).max() < 0.6
    assert abs(np.mean(found - exact)) < 0.1


def test_bounds_of_thousands_of_samples_depend_only_on_the_image(model, digits):
    images = digits.images("test")[:7]
    whole = model.log_prob(images, num_samples=1200).numpy()
    for part in (slice(3, 4), slice(2, 7)):
        alone = model.log_prob(images[part], num_samples=1200)
        np.testing.assert_allclose(alone, whole[part], rtol=1e-6)
    graph = tf.function(lambda x: model.log_prob(x, num_samples=1200))
    np.testing.assert_allclose(graph(tf.constant(images)), whole, rtol=1e-6)
    assert not np.array_equal(model.log_prob(images, num_samples=1201), whole)
    assert model.log_prob(images[:0], num_samples=1200).shape == (0,)


def test_blocks_of_samples_add_up_to_all_of_them(model, digits):
    """They equal one bound over all of the same draws."""
    image = digits.images("test")[:1]
    observed = model.observe(tf.constant(image))
    keys = importance_sampling._keys(tf.constant(image))[0]
    noise = tf.concat(
        [
            tf.random.stateless_normal([1, 1, 500, 2], tf.add(keys, [0, block]), alg="philox")
            for block in range(3)
        ],
        axis=2,
    )[:, :, :1300]
    expected = model.bound_terms(observed, noise, "A").bound()
    found = importance_sampling.importance_weighted_bound(model, image, 1300)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_elbo_is_reconstruction_minus_divergence_with_the_noise_of_the_image(digits):
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[8], num_importance_samples=3)
    images = digits.images("test")[:5]
    observed = model.observe(images)
    noise = ImageNoise((8, 8, 1)).normal(images, (8, 1, 2)).numpy()[:, :, 0]
    encoded = np.asarray(model.encoder_outputs(observed), "float64")
    mean, log_variance = np.split(encoded, 2, axis=-1)
    latents = mean[:, None] + np.exp(0.5 * log_variance)[:, None] * noise
    logits = model.decoder(latents.reshape(-1, 2).astype("float32")).numpy().reshape(5, 8, 64)
    pixels = np.asarray(observed).reshape(5, 1, 64)
    reconstruction = (pixels * logits - np.logaddexp(0.0, logits)).sum(-1).mean(1)
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance).sum(-1)
    np.testing.assert_allclose(model.log_prob(images), reconstruction - divergence, rtol=1e-5)
    assert not np.array_equal(model.log_prob(images), model.log_prob(images, num_samples=3))


def test_divergences_and_active_units_are_those_of_the_definitions(digits):
    model = tfgen.models.VAE((8, 8, 1), latent_dim=3, hidden_units=[8])
    kernel = model.encoder.weights[-2]
    values = kernel.numpy()
    values[:, 1] = 0.0
    values[:, 0] *= 3.0
    kernel.assign(values)
    images = digits.images("test")[:300]
    grey = images.reshape(300, -1) / 255.0
    means = np.asarray(model.encoder(grey.astype("float32")))[:, :3]
    active = latent_statistics.active_units(model, images)
    np.testing.assert_array_equal(active, means.astype("float64").var(axis=0) > 0.01)
    assert active[0]
    assert not active[1]
    observed = tf.reshape(model.observe(images), [300, -1])
    mean, log_variance = np.split(np.asarray(model.encoder(observed), "float64"), 2, axis=-1)
    q = tfd.Normal(mean, np.exp(0.5 * log_variance))
    expected = np.mean(tfd.kl_divergence(q, tfd.Normal(np.zeros(3), np.ones(3))), axis=0)
    found = latent_statistics.divergence_per_latent(model, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_cannot_be_estimated_is_refused(digits):
    images = digits.images("test")[:2]
    wide = tfgen.models.VAE((8, 8, 1), latent_dim=6, hidden_units=[8], prior="flow", flow_steps=1)
    for call, message in (
        (lambda: hmc.hmc_log_prob(wide, images), "at most 5 latents, vae has 6: use log_prob"),
        (lambda: quadrature.quadrature_log_prob(wide, images), "at most 2 latents, vae has 6"),
        (lambda: latent_statistics.divergence_per_latent(wide, images), "prior='normal'"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    small = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[8])
    with pytest.raises(InputError, match="num_chains must be even, got 3"):
        hmc.hmc_log_prob(small, images, num_chains=3)
