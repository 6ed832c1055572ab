"""Noise that comes from the image: uniform over images, fixed for each."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfgen
from tfgen.models.noise import ImageNoise, antithetic_normal


@pytest.fixture(scope="module")
def digits():
    return tfgen.data.load("digits").images("train")


def test_an_image_always_gets_the_same_noise(digits):
    noise = ImageNoise((8, 8, 1))
    whole = noise(digits).numpy()
    np.testing.assert_array_equal(noise(digits[5:6])[0], whole[5])
    np.testing.assert_array_equal(noise(digits[::-1])[::-1], whole)
    np.testing.assert_array_equal(tf.function(ImageNoise((8, 8, 1)))(digits), whole)
    assert whole.min() >= 0
    assert whole.max() < 1


def test_each_pixel_meets_uniform_noise_over_real_images(digits):
    noise = ImageNoise((8, 8, 1))(digits).numpy().reshape(len(digits), -1)
    distances = [stats.kstest(pixel, "uniform").statistic for pixel in noise.T]
    # Of 64 distances at 1,437 images the largest stays below this with probability 0.999.
    assert max(distances) < stats.kstwo(len(digits)).ppf(1 - 0.001 / 64)
    correlation = np.corrcoef(noise.T) - np.eye(64)
    assert np.abs(correlation).max() < 0.2
    assert np.sqrt(np.mean(correlation**2)) < 2 / np.sqrt(len(digits))


def test_the_hash_stays_within_int32_for_large_images():
    noise = ImageNoise((256, 256, 3))
    assert 255 * int(noise._weights.astype("int64").sum()) < 2**31
    white = noise(np.full((1, 256, 256, 3), 255, "uint8")).numpy()
    assert abs(white.mean() - 0.5) < 0.01


def test_antithetic_rows_come_in_pairs_of_opposites():
    rows = antithetic_normal(5, 3)
    np.testing.assert_array_equal(rows[0], -rows[1])
    np.testing.assert_array_equal(rows[2], -rows[3])
    assert rows.shape == (5, 3)
