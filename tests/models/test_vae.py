"""The VAE's bounds against numerical integration over the latents."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, special, stats

import tfgen
from tfgen.errors import InputError
from tfgen.models.noise import ImageNoise, StepNoise

SHAPE = (3, 3, 1)


def trained(latent_dim, likelihood="bernoulli", **options):
    model = tfgen.models.VAE(
        SHAPE, latent_dim=latent_dim, hidden_units=[5], likelihood=likelihood, **options
    )
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(size=weight.shape, scale=0.4).astype("float32"))
    if likelihood == "quantized_logistic":  # wide scales, which a grid of latents resolves
        model.decoder.weights[-1].assign_add([0.0] * 9 + [2.0] * 9)
    return model


def perceptron(network, x):
    """A float64 transcription of one hidden tanh layer."""
    w1, b1, w2, b2 = (w.numpy().astype("float64") for w in network.weights)
    return np.tanh(x @ w1 + b1) @ w2 + b2


def log_likelihood(model, likelihood, observed, z):
    """log p(x|z), for observed [9] and z [..., latent_dim]."""
    outputs = perceptron(model.decoder, z)
    if likelihood == "bernoulli":
        return np.sum(observed * outputs - np.logaddexp(0, outputs), axis=-1)
    mean, log_scale = outputs[..., :9] + 0.5, -8.0 * special.expit(-outputs[..., 9:])
    upper = np.where(observed == 1, np.inf, observed + 0.5 / 255)
    lower = np.where(observed == 0, -np.inf, observed - 0.5 / 255)
    logistic = stats.logistic(mean, np.exp(log_scale))
    return np.sum(np.log(logistic.cdf(upper) - logistic.cdf(lower)), axis=-1)


def posterior(model, observed):
    mean, log_variance = np.split(perceptron(model.encoder, observed), 2)
    return mean, np.exp(0.5 * log_variance)


def exact(model, likelihood, observed):
    """log p(x), and E_q[log p(x|z)] - KL(q||p), by integration over a grid of latents."""
    axis = np.linspace(-9, 9, 361)
    grids = np.meshgrid(*[axis] * model.latent_dim, indexing="ij")
    z = np.stack(grids, axis=-1)
    mean, deviation = posterior(model, observed)
    log_joint = log_likelihood(model, likelihood, observed, z) + stats.norm.logpdf(z).sum(-1)
    log_q = stats.norm.logpdf(z, mean, deviation).sum(-1)

    def integral(values):
        for _ in range(model.latent_dim):
            values = integrate.simpson(values, x=axis, axis=-1)
        return values

    return np.log(integral(np.exp(log_joint))), integral(np.exp(log_q) * (log_joint - log_q))


@pytest.fixture(params=["bernoulli", "quantized_logistic"])
def likelihood(request):
    return request.param


@pytest.fixture
def image():
    return np.array([0, 255, 255, 0, 255, 0, 0, 0, 255], "uint8").reshape(1, *SHAPE)


def bounds(model, observed, estimator, samples, importance_samples, repeats=200):
    """Many independent values of the bound that training maximizes."""
    generator = np.random.default_rng(3)
    shape = (repeats, samples, importance_samples, model.latent_dim)
    noise = tf.constant(generator.normal(size=shape), tf.float32)
    observed = tf.repeat(tf.constant(observed.reshape(1, *SHAPE), tf.float32), repeats, axis=0)
    return model.bound_terms(observed, noise, estimator).bound().numpy().astype("float64")


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("estimator", ["A", "B"])
def test_both_estimators_average_to_the_integrated_bound(latent_dim, estimator, likelihood, image):
    model = trained(latent_dim, likelihood)
    observed = image.reshape(9) / 255.0
    log_evidence, bound = exact(model, likelihood, observed)
    values = bounds(model, observed, estimator, samples=500, importance_samples=1)
    standard_error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - bound) < 4 * standard_error + 1e-4
    assert bound < log_evidence
    assert standard_error < 0.03


def test_estimator_b_has_the_lower_variance(image):
    model = trained(2)
    values = {e: bounds(model, image / 255.0, e, 1, 1, repeats=2000).var() for e in "AB"}
    assert values["B"] < values["A"]


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_importance_weighted_bounds_rise_to_the_integrated_evidence(latent_dim, likelihood, image):
    model = trained(latent_dim, likelihood)
    observed = image.reshape(9) / 255.0
    log_evidence, bound = exact(model, likelihood, observed)
    values = [bounds(model, observed, "A", 1, k, repeats=4000) for k in (1, 5, 25)]
    means = [v.mean() for v in values]
    assert abs(means[0] - bound) < 4 * values[0].std() / np.sqrt(4000)
    assert means[0] < means[1] < means[2] < log_evidence + 4 * values[2].std() / np.sqrt(4000)
    many = bounds(model, observed, "A", 1, 5000, repeats=20)
    assert abs(many.mean() - log_evidence) < 4 * many.std() / np.sqrt(20) + 1e-3


def test_log_prob_is_the_bound_at_the_noise_of_the_image(likelihood, image):
    """Black and white pixels do not depend on the noise that binarizes them."""
    model = trained(2, likelihood)
    observed = image.reshape(9) / 255.0
    mean, deviation = posterior(model, observed)
    noise = ImageNoise(SHAPE).normal(image, (8, 1, 2)).numpy().reshape(8, 2).astype("float64")
    z = mean + deviation * noise
    kl = np.sum(0.5 * (mean**2 + deviation**2 - 1) - np.log(deviation))
    expected = log_likelihood(model, likelihood, observed, z).mean() - kl
    np.testing.assert_allclose(model.log_prob(image)[0], expected, rtol=1e-4)
    assert model.bound == "lower bound, 1 importance sample, mean of 8 draws"


def test_log_prob_with_many_importance_samples_is_the_evidence(likelihood, image):
    model = trained(2, likelihood)
    log_evidence, _ = exact(model, likelihood, image.reshape(9) / 255.0)
    found = float(model.log_prob(image, num_samples=20_000)[0])
    assert abs(found - log_evidence) < 0.05


def test_log_prob_over_images_has_the_mean_of_independent_noise():
    """Over real images, for one and for few importance samples."""
    model = tfgen.zoo.load("vae-digits")
    images = tfgen.data.load("digits").images("test")
    generator = np.random.default_rng(0)
    for k in (1, 2, 5):
        found = model.log_prob(images, num_samples=k).numpy()
        fresh = []
        for _ in range(20):
            noise = generator.normal(size=(len(images), 8 if k == 1 else 1, k, model.latent_dim))
            threshold = generator.uniform(size=images.shape).astype("float32")
            observed = model._likelihood.observe(images, threshold)
            fresh.append(model.bound_terms(observed, noise.astype("float32"), "B").bound().numpy())
        standard_error = np.std(found - np.mean(fresh, axis=0)) / np.sqrt(len(images))
        assert standard_error < 0.2
        assert abs(found.mean() - np.mean(fresh)) < 4 * standard_error


def test_log_prob_takes_any_integer_works_in_graphs_and_on_no_images(image):
    model = trained(2)
    images = np.repeat(image, 3, axis=0)
    expected = model.log_prob(images, num_samples=4)
    np.testing.assert_array_equal(model.log_prob(images, num_samples=np.int64(4)), expected)
    graph = tf.function(lambda x: model.log_prob(x, num_samples=4))
    np.testing.assert_allclose(graph(tf.constant(images)), expected, rtol=1e-5)
    assert model.log_prob(images[:0], num_samples=4).shape == (0,)


def test_the_reparameterized_gradient_equals_finite_differences(image):
    model = trained(1)
    noise = np.random.default_rng(0).normal(size=(1, 4, 1, 1)).astype("float32")
    observed = tf.constant(image / 255.0, tf.float32)
    kernel = model.encoder.trainable_weights[2]
    with tf.GradientTape() as tape:
        bound = model.bound_terms(observed, tf.constant(noise), "B").bound()
    gradient = tape.gradient(bound, kernel.value).numpy()

    def reference(weight):
        kernel_before = kernel.numpy()
        kernel.assign(weight)
        mean, deviation = posterior(model, image.reshape(9) / 255.0)
        kernel.assign(kernel_before)
        z = mean + deviation * noise.reshape(4, 1).astype("float64")
        kl = np.sum(0.5 * (mean**2 + deviation**2 - 1) - np.log(deviation))
        return np.mean(log_likelihood(model, "bernoulli", image.reshape(9) / 255.0, z)) - kl

    step = 2.0**-9  # exact in float32, in which the weights are kept
    for index in np.ndindex(*kernel.shape):
        shift = np.zeros(kernel.shape, "float32")
        shift[index] = step
        weight = kernel.numpy()
        difference = (reference(weight + shift) - reference(weight - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[index], difference, rtol=1e-3, atol=1e-4)


def test_static_binarization_is_fixed_and_dynamic_binarization_is_not():
    images = tfgen.data.load("digits").images("test")[:20]
    for binarization, same in (("static", True), ("dynamic", False)):
        model = tfgen.models.VAE((8, 8, 1), latent_dim=2, binarization=binarization)
        assert model.dequantization.startswith(f"{binarization} binarization")
        first, second = (model.observe(images, StepNoise(0, step, images)) for step in (1, 2))
        assert bool(tf.reduce_all(first == second)) is same
        assert bool(tf.reduce_all(first == model.observe(images))) is same


def test_errors_for_bad_arguments_say_what_would_work():
    for options, message in (
        ({"likelihood": "poisson"}, "bernoulli, gaussian, quantized_logistic, got 'poisson'"),
        ({"binarization": "half"}, "one of dynamic, static, got 'half'"),
        ({"estimator": "C"}, "one of B, A, got 'C'"),
        ({"prior": "vamp"}, "prior must be one of normal, flow, got 'vamp'"),
        ({"latent_dim": 0}, "latent_dim must be a positive integer, got 0"),
        ({"encoder": "transformer"}, "encoder must be one of mlp, conv or a keras.Model"),
        (
            {"hidden_units": 500},
            r"hidden_units must be a list of integers such as \[500\], got 500",
        ),
        ({"hidden_units": [3, 0]}, r"hidden_units\[1\] must be a positive integer, got 0"),
        ({"beta": -1.0}, "beta must be a number >= 0, got -1.0"),
        ({"kl_warmup": float("inf")}, "kl_warmup must be a number >= 0, got inf"),
        ({"latent_dim": 1, "prior": "flow"}, "latent_dim must be at least 2, got 1"),
        ({"latent_dim": 1, "posterior": "flow"}, "latent_dim must be at least 2, got 1"),
        ({"free_bits": 0.5, "num_importance_samples": 5}, "omit one of the two"),
        (
            {"num_importance_samples": 5, "num_backward_samples": 6},
            "num_backward_samples must be an integer from 0 to 5, got 6",
        ),
        (
            {"likelihood": "gaussian", "binarization": "static"},
            "needs likelihood='bernoulli', got 'gaussian'",
        ),
        ({"neighbours": 1}, "neighbours=1 needs likelihood='quantized_logistic', got 'bernoulli'"),
        ({"neighbours": 5}, "neighbours must be an integer from 0 to 4, got 5"),
        ({"decoder": "conv", "channels": [4, 4, 4, 4]}, "give fewer"),
    ):
        with pytest.raises(InputError, match=message):
            tfgen.models.VAE((8, 8, 1), **{"latent_dim": 2, **options})
    with pytest.raises(InputError, match="use likelihood='quantized_logistic' or 'gaussian'"):
        tfgen.models.VAE((8, 8, 3), latent_dim=2)
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2)
    with pytest.raises(InputError, match="num_samples must be a positive integer, got 0"):
        model.log_prob(np.zeros((1, 8, 8, 1), "uint8"), num_samples=0)
