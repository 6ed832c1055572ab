"""Priors and posteriors: densities, closed forms, and the latents that callers see."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats
from tensorflow_probability import distributions as tfd

import tfgen
from tfgen.models.vae.objectives import gaussian_divergences
from tfgen.models.vae.posterior import FlowPosterior, GaussianPosterior
from tfgen.models.vae.prior import FlowPrior, NormalPrior

SHAPE = (3, 3, 1)


def shaken(layers, scale=0.3):
    """The layers with randomly changed weights, so that no flow is the identity."""
    generator = np.random.default_rng(0)
    for layer in layers:
        for weight in layer.trainable_weights:
            weight.assign_add(generator.normal(size=weight.shape, scale=scale).astype("float32"))


def flow_prior():
    prior = FlowPrior(2, steps=2, width=4, network_dtype=None, name="prior")
    shaken(prior.layers)
    return prior


def flow_posterior():
    posterior = FlowPosterior(
        2, steps=2, width=4, context_channels=3, network_dtype=None, name="posterior"
    )
    shaken(posterior.layers)
    return posterior


def grid(limit=9.0, points=451):
    axis = np.linspace(-limit, limit, points)
    return axis, np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).astype("float32")


def integral(values, axis):
    return integrate.simpson(integrate.simpson(values, x=axis, axis=-1), x=axis, axis=-1)


@pytest.mark.parametrize("prior", [NormalPrior, flow_prior])
def test_a_prior_adds_up_to_one_and_maps_noise_to_latents_and_back(prior):
    prior = prior()
    axis, points = grid(12.0, 601)
    density = np.exp(prior.log_prob(points.reshape(-1, 2)).numpy().astype("float64"))
    np.testing.assert_allclose(integral(density.reshape(601, 601), axis), 1.0, rtol=1e-3)
    noise = np.random.default_rng(1).normal(size=(200, 2)).astype("float32")
    latents = prior.from_noise(noise)
    np.testing.assert_allclose(prior.to_noise(latents), noise, atol=1e-4)


def test_a_flow_prior_is_the_density_of_its_own_draws():
    """The fraction of draws below a line is the integral of the density over that half plane."""
    prior = flow_prior()
    noise = np.random.default_rng(2).normal(size=(40_000, 2)).astype("float32")
    latents = np.asarray(prior.from_noise(noise))
    axis, points = grid(12.0, 601)
    density = np.exp(prior.log_prob(points.reshape(-1, 2)).numpy().astype("float64"))
    density = density.reshape(601, 601)
    for limit in (-1.0, 0.0, 0.6):
        cell = axis[1] - axis[0]
        below = density[axis <= limit].sum() * cell**2
        share = np.mean(latents[:, 0] < limit)
        assert abs(share - below) < 4 * np.sqrt(0.25 / 40_000) + 0.01
    assert np.abs(latents - noise).max() > 0.5


@pytest.mark.parametrize("kind", ["gaussian", "flow"])
def test_the_log_density_of_a_posterior_is_that_of_its_draws(kind):
    """E_q[exp(log p - log q)] is 1 for any density p that q covers."""
    posterior = GaussianPosterior(2) if kind == "gaussian" else flow_posterior()
    generator = np.random.default_rng(3)
    outputs = generator.normal(size=(1, posterior.encoder_outputs)).astype("float32") * 0.5
    noise = generator.normal(size=(1, 4, 5000, 2)).astype("float32")
    latents, log_q, expected_log_q = posterior.sample(tf.constant(outputs), tf.constant(noise))
    assert latents.shape == noise.shape
    assert log_q.shape == (1, 4, 5000)
    draws = np.asarray(latents, "float64").reshape(-1, 2)
    proposal = stats.multivariate_normal(draws.mean(0), 0.25 * np.cov(draws.T))
    weights = np.exp(proposal.logpdf(draws) - log_q.numpy().astype("float64").ravel())
    standard_error = weights.std() / np.sqrt(weights.size)
    assert standard_error < 0.05
    assert abs(weights.mean() - 1.0) < 4 * standard_error
    entropy_error = np.std(log_q) / np.sqrt(20_000)
    mean_of_expected = np.mean(np.broadcast_to(expected_log_q, log_q.shape))
    assert abs(np.mean(log_q) - mean_of_expected) < 4 * entropy_error


def test_a_flow_posterior_depends_on_features_of_the_image():
    posterior = flow_posterior()
    outputs = np.zeros((2, posterior.encoder_outputs), "float32")
    outputs[1, 4:] = 1.0
    latents, _, _ = posterior.sample(tf.constant(outputs), tf.ones([2, 1, 1, 2]))
    assert np.abs(latents[0] - latents[1]).max() > 1e-2
    np.testing.assert_allclose(
        posterior.center(tf.constant(outputs)),
        posterior.sample(tf.constant(outputs), tf.zeros([2, 1, 1, 2]))[0][:, 0, 0],
        atol=1e-6,
    )


def test_the_closed_form_divergence_equals_that_of_tfp():
    generator = np.random.default_rng(0)
    mean, log_variance = generator.normal(size=(2, 7, 5))
    q = tfd.Normal(mean, np.exp(0.5 * log_variance))
    expected = tfd.kl_divergence(q, tfd.Normal(np.zeros(5), np.ones(5)))
    np.testing.assert_allclose(gaussian_divergences(mean, log_variance), expected, rtol=1e-12)


FLOWS = [("flow", "gaussian"), ("normal", "flow"), ("flow", "flow")]


def small(prior, posterior, **options):
    model = tfgen.models.VAE(
        SHAPE,
        latent_dim=2,
        hidden_units=[5],
        prior=prior,
        posterior=posterior,
        flow_steps=2,
        flow_width=4,
        **options,
    )
    shaken([model.encoder, model.decoder], 0.3)
    shaken(model.prior.layers, 0.2)
    shaken(model.posterior.layers, 0.05)
    # A wide q(z|x): importance weights of a narrow one have no variance.
    bias = model.encoder.weights[-1]
    bias.assign_add([0.0, 0.0, 1.0, 1.0] + [0.0] * (bias.shape[0] - 4))
    return model


@pytest.mark.parametrize(("prior", "posterior"), FLOWS)
def test_bounds_with_flows_approach_the_integral_over_latents(prior, posterior):
    model = small(prior, posterior)
    image = np.array([0, 255, 255, 0, 255, 0, 0, 0, 255], "uint8").reshape(1, *SHAPE)
    exact = tfgen.evaluation.quadrature.quadrature_log_prob(
        model, image, limit=9.0, num_points=301
    )[0]
    observed = tf.repeat(model.observe(tf.constant(image)), 400, axis=0)
    generator = np.random.default_rng(0)
    means, weights = {}, None
    for estimator, k in (("A", 1), ("B", 1), ("A", 5), ("A", 500)):
        noise = generator.normal(size=(400, 1, k, 2)).astype("float32")
        values = model.bound_terms(observed, tf.constant(noise), estimator).bound().numpy()
        means[estimator, k] = values.mean(), values.std() / 20
        weights = np.exp(values.astype("float64") - exact)
    gap = abs(means["A", 1][0] - means["B", 1][0])
    assert gap < 4 * np.hypot(means["A", 1][1], means["B", 1][1])
    assert means["B", 1][0] < means["A", 5][0] < means["A", 500][0]
    # Of the importance weights, not their logarithms, the mean is exact at any k.
    standard_error = weights.std() / 20
    assert standard_error < 0.05
    assert abs(weights.mean() - 1.0) < 4 * standard_error + 1e-3


@pytest.mark.parametrize(("prior", "posterior"), FLOWS)
def test_callers_see_the_noise_of_the_prior(prior, posterior):
    model = small(prior, posterior)
    images = np.random.default_rng(0).integers(0, 256, (4, *SHAPE)).astype("uint8")
    grey = tf.constant(images / 255.0, tf.float32)
    center = model.posterior.center(model.encoder_outputs(grey))
    np.testing.assert_allclose(model.encode(images), model.prior.to_noise(center), atol=1e-5)
    outputs = model.decoder(model.prior.from_noise(model.encode(images)))
    expected = np.round(255 * tf.sigmoid(outputs)).reshape(images.shape)
    assert np.abs(model.decode(model.encode(images)).numpy() - expected).max() <= 1
