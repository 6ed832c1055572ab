"""Likelihoods of pixels against closed forms, sums over all images and NumPy in float64."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import tfgen
from tfgen.models.vae.likelihoods import Bernoulli, Gaussian, QuantizedLogistic


def test_grey_pixels_are_binarized_with_their_own_probability():
    likelihood = Bernoulli((1, 1, 1))
    images = np.full((100_000, 1, 1, 1), 64, "uint8")
    noise = np.random.default_rng(0).uniform(size=images.shape).astype("float32")
    share = likelihood.observe(images, noise).numpy().mean()
    assert abs(share - 64 / 255) < 4 * np.sqrt(0.19 / 100_000)


def test_quantized_logistic_adds_up_to_one_over_the_256_levels():
    likelihood = QuantizedLogistic((1, 1, 1))
    levels = likelihood.observe(np.arange(256, dtype="uint8").reshape(256, 1), None)
    for mean, raw_log_scale in [(0.0, 0.0), (0.4, -3.0), (-0.7, 5.0), (2.0, 1.0)]:
        outputs = tf.constant([[mean, raw_log_scale]])
        total = np.exp(likelihood.log_prob(levels, outputs).numpy().astype("float64")).sum()
        np.testing.assert_allclose(total, 1.0, rtol=2e-4)


def test_gaussian_is_a_density_of_the_dequantized_pixel():
    likelihood = Gaussian((1, 1, 1))
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, 1, 1, 1)).astype("uint8")
    noise = generator.uniform(size=images.shape).astype("float32")
    outputs = generator.normal(size=(50, 2), scale=2.0)
    observed = likelihood.observe(images, noise).numpy().reshape(50, 1)
    found = likelihood.log_prob(observed, tf.constant(outputs, tf.float32))
    mean, deviation = special.expit(outputs[:, 0]), np.exp(-8 * special.expit(-outputs[:, 1]))
    values = (images[:, 0, 0, 0] + noise[:, 0, 0, 0].astype("float64")) / 256
    expected = stats.norm.logpdf(values, mean, deviation) - np.log(256)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_bernoulli_log_prob_and_its_gradient_stay_exact_at_the_ends_of_the_range():
    logits = np.concatenate([np.linspace(-300, 300, 97), [-1e4, 1e4, 0.0]])
    values = (np.arange(100) % 3 == 0).astype("float64")
    expected = np.sum(values * logits - np.logaddexp(0, logits))
    variable = tf.Variable(logits, dtype=tf.float32)
    with tf.GradientTape() as tape:
        found = tfgen.numerics.bernoulli_log_prob(values, variable)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    gradient = tape.gradient(found, variable)
    np.testing.assert_allclose(gradient, values - special.expit(logits), atol=1e-6)


NEIGHBOURS = [(0, -1), (-1, 0), (-1, -1), (-1, 1)]


def one_by_one(outputs, shape, neighbours, pixel):
    """Call `pixel` for each pixel in row-major order, and use its results for later means."""
    average, raw_log_scale, *weights = np.split(outputs.astype("float64"), 2 + neighbours)
    average = average.reshape(shape) + 0.5
    scale = np.exp(-8.0 * special.expit(-raw_log_scale)).reshape(shape)
    values = np.zeros(shape)
    for i, j, c in np.ndindex(*shape):
        mean = average[i, j, c]
        for weight, (down, right) in zip(weights, NEIGHBOURS, strict=False):
            row, column = i + down, j + right
            if row >= 0 and 0 <= column < shape[1]:
                deviation = values[row, column, c] - average[row, column, c]
                mean += weight.reshape(shape)[i, j, c] * deviation
        values[i, j, c] = pixel((i, j, c), mean, scale[i, j, c])
    return values


@pytest.mark.parametrize("neighbours", range(5))
def test_a_quantized_logistic_with_neighbours_equals_a_loop_over_pixels(neighbours):
    shape = (4, 5, 2)
    likelihood = QuantizedLogistic(shape, neighbours)
    generator = np.random.default_rng(neighbours)
    images = generator.integers(0, 256, (3, *shape)).astype("uint8")
    observed = likelihood.observe(images, None).numpy().reshape(3, 1, 40)
    outputs = generator.normal(0, 0.4, (3, 2, 40 * likelihood.parameters_per_pixel))
    outputs[..., 40:80] += 2.0  # wide scales, so that no level's probability underflows in float64
    found = likelihood.log_prob(observed, tf.constant(outputs, tf.float32))
    for image, sample in np.ndindex(3, 2):
        total = []

        def pixel(index, mean, scale, image=image, total=total):
            x = images[image][index] / 255.0
            upper = np.inf if x == 1 else x + 1 / 510
            lower = -np.inf if x == 0 else x - 1 / 510
            total.append(np.log(np.diff(stats.logistic(mean, scale).cdf([lower, upper]))[0]))
            return x

        one_by_one(outputs[image, sample], shape, neighbours, pixel)
        np.testing.assert_allclose(found[image, sample], np.sum(total), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 1), (2, 1, 1)])
def test_a_quantized_logistic_with_neighbours_adds_up_to_one_over_all_images(shape):
    likelihood = QuantizedLogistic(shape, 4)
    images = np.array(list(itertools.product(range(256), repeat=2)), "uint8")
    observed = likelihood.observe(images, None)
    outputs = tf.constant([[0.1, -0.2, -1.0, 0.3, 0.9, 0.9, -1.2, -1.2, 0.4, 0.4, 0.2, 0.2]])
    total = np.exp(likelihood.log_prob(observed, outputs).numpy().astype("float64")).sum()
    np.testing.assert_allclose(total, 1.0, rtol=2e-4)


@pytest.mark.parametrize("neighbours", range(5))
def test_draws_of_a_quantized_logistic_are_those_of_a_loop_over_pixels(neighbours):
    shape = (5, 4, 2)
    likelihood = QuantizedLogistic(shape, neighbours)
    generator = np.random.default_rng(neighbours)
    outputs = generator.normal(0, 0.6, (3, 40 * likelihood.parameters_per_pixel)).astype("float32")
    noise = generator.uniform(size=(3, 40)).astype("float32")
    drawn = tf.function(likelihood.draw)(tf.constant(outputs), tf.constant(noise)).numpy()
    for image in range(3):
        flat = noise[image].astype("float64").reshape(shape)

        def pixel(index, mean, scale, flat=flat):
            value = mean + scale * special.logit(flat[index])
            return np.round(255.0 * np.clip(value, 0.0, 1.0)) / 255.0

        expected = one_by_one(outputs[image], shape, neighbours, pixel)
        np.testing.assert_allclose(drawn[image].reshape(shape), expected, atol=1e-6)


def test_the_image_of_a_latent_is_the_average_of_what_is_drawn():
    shape = (6, 6, 1)
    likelihood = QuantizedLogistic(shape, 4)
    generator = np.random.default_rng(0)
    outputs = np.concatenate(
        [generator.normal(0, 0.05, 36), np.full(36, -0.7), generator.uniform(0, 0.4, 4 * 36)]
    ).astype("float32")
    many = tf.tile(outputs[None], [20_000, 1])
    drawn = likelihood.draw(many, generator.uniform(size=(20_000, 36)).astype("float32")).numpy()
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - likelihood.mean(many)[0]) < 4.5 * error + 1e-4).all()
