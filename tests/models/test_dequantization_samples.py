"""`log_prob` of a flow with several draws of the dequantization noise."""

import numpy as np
import pytest

import tfgen
from tfgen.models.noise import ImageNoise


@pytest.mark.parametrize("dequantization", ["uniform", "variational"])
def test_draws_average_the_density_over_other_noise_and_begin_with_log_prob(dequantization):
    model = tfgen.models.Glow(
        (4, 4, 1), levels=1, depth=1, width=4, dequantization=dequantization, dequantization_depth=1
    )
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(generator.normal(size=weight.shape, scale=0.1).astype("float32"))
    images = generator.integers(0, 256, (3, 4, 4, 1), "uint8")
    one, two, same = (
        model.log_prob(images, num_samples=k).numpy().astype("float64") for k in (1, 2, 2)
    )
    np.testing.assert_array_equal(one, model.log_prob(images))
    np.testing.assert_array_equal(two, same)
    np.testing.assert_array_equal(
        model.log_prob(images[1:2], num_samples=2), two[1:2].astype("float32")
    )
    shift = np.random.RandomState(1).uniform(size=(2, 4, 4, 1)).astype("float32")
    normal = dequantization == "variational"
    base = ImageNoise((4, 4, 1)).uniform(images, (2, 4, 4, 1) if normal else (4, 4, 1))
    uniform = np.mod(base + (shift if normal else shift[0]), 1.0).astype("float32")
    if normal:
        radius, angle = uniform[:, 0], uniform[:, 1]
        uniform = np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * np.pi * angle)
    second = model._log_density(*model._dequantized(images, uniform))[0].numpy().astype("float64")
    np.testing.assert_allclose(two, np.logaddexp(one, second) - np.log(2), rtol=1e-5)
