"""Noise that is computed from the image: distributed like random noise, fixed per image."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfgen
from tfgen.models.noise import ImageNoise

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def digits():
    return tfgen.data.load("digits").images("train")


def draw(kind, images, shape=SHAPE):
    noise = getattr(ImageNoise(images.shape[1:]), kind)(images, shape)
    return noise.numpy()


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_an_image_always_gets_the_same_noise(kind, digits):
    whole = draw(kind, digits)
    np.testing.assert_array_equal(draw(kind, digits[5:6])[0], whole[5])
    np.testing.assert_array_equal(draw(kind, digits[::-1])[::-1], whole)
    graph = tf.function(lambda x: getattr(ImageNoise(SHAPE), kind)(x, SHAPE))
    np.testing.assert_allclose(graph(digits), whole, atol=1e-5)
    assert len(np.unique(whole[:, 0, 0, 0])) > 0.9 * len(whole)


@pytest.mark.parametrize(("kind", "law"), [("uniform", "uniform"), ("normal", "norm")])
def test_each_number_has_its_distribution_over_real_images(kind, law, digits):
    noise = draw(kind, digits).reshape(len(digits), -1)
    distances = [stats.kstest(numbers, law).statistic for numbers in noise.T]
    # Of 64 distances at 1,437 images the largest stays below this with probability 0.999.
    assert max(distances) < stats.kstwo(len(digits)).ppf(1 - 0.001 / 64)
    correlation = np.corrcoef(noise.T) - np.eye(64)
    assert np.sqrt(np.mean(correlation**2)) < 2 / np.sqrt(len(digits))


def test_the_noise_of_one_image_is_spread_as_noise_is(digits):
    noise = draw("normal", digits[:20], (4, 1000))
    for image in noise:
        assert stats.kstest(image.ravel(), "norm").pvalue > 1e-4
        assert np.abs(np.corrcoef(image) - np.eye(4)).max() < 5 / np.sqrt(1000)


def test_integers_stay_below_two_to_the_31():
    noise = ImageNoise((256, 256, 3))
    assert 255 * int(noise._weights.astype("int64").sum()) < 2**31
    white = np.full((1, 256, 256, 3), 255, "uint8")
    uniform = noise.uniform(white, (256, 256, 3)).numpy()
    assert stats.kstest(uniform.ravel(), "uniform").statistic < 0.01
    assert uniform.min() >= 0
    assert uniform.max() < 1


def test_a_model_that_draws_both_kinds_gets_numbers_of_both(digits):
    """Normal noise of half the size is made of as many uniform numbers as there are pixels."""
    uniform = draw("uniform", digits).reshape(len(digits), 2, -1)
    normal = draw("normal", digits, (32,))
    made_of_it = np.sqrt(-2 * np.log(1 - uniform[:, 0])) * np.cos(2 * np.pi * uniform[:, 1])
    between = np.corrcoef(normal.T, made_of_it.T)[:32, 32:]
    assert np.sqrt(np.mean(between**2)) < 2 / np.sqrt(len(digits))
