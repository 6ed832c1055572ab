"""Glow's likelihood against the change of variables, and its quantization."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfgen
from tfgen import bijectors
from tfgen.errors import InputError
from tfgen.models.glow.preprocessing import SMALLEST, LogitPreprocessing
from tfgen.models.noise import ImageNoise


def trained(image_shape=(4, 4, 1), levels=2, **options):
    model = tfgen.models.Glow(image_shape, levels=levels, depth=2, width=8, **options)
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(generator.normal(size=weight.shape, scale=0.05).astype("float32"))
    return model


@pytest.mark.parametrize("num_bits", [8, 5, 1])
def test_log_prob_is_the_change_of_variables_at_the_dequantized_image(num_bits):
    model = trained(num_bits=num_bits)
    exact = bijectors.Glow(
        (4, 4, 1), levels=2, depth=2, width=8, learned_prior=True, dtype="float64"
    )
    for ours, theirs in zip(
        (w for layer in exact.layers for w in layer.weights),
        (w for layer in model.flow.layers for w in layer.weights),
        strict=True,
    ):
        ours.assign(theirs)
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1), "uint8")
    levels = images // 2 ** (8 - num_bits)
    noise = ImageNoise((4, 4, 1)).uniform(levels, (4, 4, 1)).numpy().astype("float64")
    values = (levels + noise) / 2**num_bits - 0.5
    with tf.GradientTape() as tape:
        y = tf.constant(values)
        tape.watch(y)
        z = exact.inverse(y)
    jacobian = np.reshape(tape.batch_jacobian(z, y), [3, 16, 16])
    density = stats.norm.logpdf(z).sum(1) + np.linalg.slogdet(jacobian)[1]
    expected = density - num_bits * 16 * np.log(2.0)  # a level is 2^-bits wide
    np.testing.assert_allclose(model.log_prob(images), expected, rtol=1e-5)


def test_with_values_on_the_logit_scale_log_prob_is_still_the_density_of_the_image():
    model = trained((4, 4, 1), preprocessing="logit", network="gated", blocks=1, checkerboard=2)
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1), "uint8")
    images[0, 0, 0, 0], images[0, 0, 1, 0] = 0, 255
    noise = ImageNoise((4, 4, 1)).uniform(images, (4, 4, 1)).numpy().astype("float64")
    y = (images + noise) / 256
    p = 1e-6 + (1 - 2e-6) * y
    values = np.log(p / (1 - p))
    slope = (1 - 2e-6) / (p * (1 - p))
    with tf.GradientTape() as tape:
        v = tf.constant(values.astype("float32"))
        tape.watch(v)
        z = model.flow.inverse(v)
    jacobian = np.reshape(tape.batch_jacobian(z, v), [3, 16, 16]).astype("float64")
    density = stats.norm.logpdf(z).sum(1) + np.linalg.slogdet(jacobian)[1]
    expected = density + np.log(slope).sum((1, 2, 3)) - 8 * 16 * np.log(2.0)
    np.testing.assert_allclose(model.log_prob(images), expected, rtol=1e-5)
    np.testing.assert_array_equal(model.decode(model.encode(images)), images)
    every = np.arange(256, dtype="uint8").reshape(16, 4, 4, 1)
    np.testing.assert_array_equal(model.reconstruct(every), every)
    with pytest.raises(InputError, match="preprocessing must be one of linear, logit, got 'log'"):
        trained(preprocessing="log")


def test_the_discrete_probabilities_of_all_images_add_up_to_the_mass_of_the_cube():
    """P(x) = E_u exp(log-density(x + u)), over the 16 images of 2x2 binary pixels."""
    model = trained((2, 2, 1), levels=1, num_bits=1)
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    images = (255 * bits).astype("uint8").reshape(16, 2, 2, 1)
    generator = np.random.default_rng(0)
    draws = 4000
    noise = generator.uniform(size=(draws, 16, 2, 2, 1)).astype("float32")
    dequantized, _ = model._flow_input(images, noise)  # The linear preprocessing has slope 1.
    log_density = model._log_density(tf.reshape(dequantized, [-1, 2, 2, 1]), 0.0)[0].numpy()
    log_density = log_density.reshape(draws, 16).astype("float64")
    total = np.exp(log_density).mean(0).sum()
    values = model.flow.forward(generator.normal(size=(400_000, 4)).astype("float32")).numpy()
    inside = np.all(np.abs(values) < 0.5, axis=(1, 2, 3))
    deviation = np.sqrt(np.exp(log_density).sum(1).var() / draws + inside.var() / len(inside))
    assert inside.mean() > 0.01
    assert abs(total - inside.mean()) < 5 * max(deviation, 1e-4)


def test_variational_offsets_leave_the_probabilities_of_all_images_at_the_mass_of_the_cube():
    """P(x) = E_q exp(log-density(x + u) - log q(u|x)) for any q."""
    model = trained((2, 2, 1), levels=1, num_bits=1, dequantization="variational")
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    images = np.repeat((255 * bits).astype("uint8").reshape(16, 2, 2, 1), 4000, axis=0)
    generator = np.random.default_rng(0)
    noise = generator.normal(size=images.shape).astype("float32")
    dequantized = model._dequantized(tf.constant(images), tf.constant(noise))
    log_weight = model._log_density(*dequantized)[0].numpy().reshape(16, 4000).astype("float64")
    total = np.exp(log_weight).mean(1).sum()
    values = model.flow.forward(generator.normal(size=(400_000, 4)).astype("float32")).numpy()
    inside = np.all(np.abs(values) < 0.5, axis=(1, 2, 3))
    deviation = np.sqrt(np.exp(log_weight).sum(0).var() / 4000 + inside.var() / len(inside))
    assert inside.mean() > 0.01
    assert abs(total - inside.mean()) < 5 * max(deviation, 1e-4)


def test_the_density_of_variational_offsets_is_the_change_of_variables():
    model = trained((4, 4, 1), dequantization="variational", dequantization_depth=2)
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1), "uint8")
    values = model._centers(images)
    noise = tf.random.stateless_normal([3, 4, 4, 1], [0, 0])
    with tf.GradientTape() as tape:
        tape.watch(noise)
        offsets, log_q = model._dequantization.offsets(values, noise)
    jacobian = np.reshape(tape.batch_jacobian(offsets, noise), [3, 16, 16]).astype("float64")
    expected = stats.norm.logpdf(noise).sum((1, 2, 3)) - np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_q, expected, rtol=1e-4)
    assert np.all((offsets > 0) & (offsets < 1))
    other = model._dequantization.offsets(-values, noise)[0]
    assert np.any(np.abs(other - offsets) > 1e-3)  # They depend on the image.


def test_variational_dequantization_starts_nearly_uniform():
    model = tfgen.models.Glow((8, 8, 1), levels=1, depth=1, width=8, dequantization="variational")
    noise = tf.random.stateless_normal([64, 8, 8, 1], [0, 0])
    offsets, log_q = model._dequantization.offsets(tf.zeros_like(noise), noise)
    assert abs(np.mean(log_q)) < 0.02 * 64  # nats; log q of uniform offsets is 0
    assert stats.kstest(np.ravel(offsets), "uniform").statistic < 0.03


def test_variational_dequantization_is_a_tighter_bound_and_says_so():
    images = tfgen.data.load("digits").images("train")[:512]
    reached = {}
    for kind in ("uniform", "variational"):
        keras.utils.set_random_seed(0)
        model = tfgen.models.Glow(
            (8, 8, 1), levels=2, depth=2, width=16, num_bits=2, dequantization=kind
        )
        model.compile(tfgen.optimizers.Adam(3e-3))
        history = model.fit(images, batch_size=64, epochs=30, verbose=0).history
        reached[kind] = history["bits_per_dim"][-1]
    assert reached["variational"] < reached["uniform"] - 0.02
    assert model.bound == "lower bound, 1 dequantization sample"
    assert model.protocol()["dequantization"] == "variational, one draw per image"
    np.testing.assert_array_equal(model.reconstruct(images[:8]).numpy() >> 6, images[:8] >> 6)


def test_eight_bit_images_come_back_exactly_from_their_latents():
    model = trained((8, 8, 3))
    images = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), "uint8")
    np.testing.assert_array_equal(model.decode(model.encode(images)), images)


@pytest.mark.parametrize("num_bits", range(1, 9))
def test_fewer_bits_drop_the_low_ones_and_keep_black_and_white(num_bits):
    model = trained(num_bits=num_bits)
    images = np.arange(256, dtype="uint8").reshape(16, 4, 4, 1)
    found = model.reconstruct(images).numpy()
    drop = 8 - num_bits
    np.testing.assert_array_equal(found >> drop, images >> drop)
    assert len(np.unique(found)) == 2**num_bits
    assert (found.min(), found.max()) == (0, 255)


def test_the_bits_that_are_dropped_do_not_matter():
    model = trained(num_bits=3)
    images = np.random.default_rng(1).integers(0, 256, (16, 4, 4, 1), "uint8")
    np.testing.assert_array_equal(model.log_prob(images), model.log_prob(images & 0b11100000))
    np.testing.assert_array_equal(model.encode(images), model.encode(images | 0b00011111))


def test_latents_that_overflow_decode_to_grey():
    model = trained()
    far = np.full((2, 16), 1e30, "float32")
    assert np.isnan(model.flow.forward(far)).all()
    np.testing.assert_array_equal(model.decode(far), np.full((2, 4, 4, 1), 128))


def test_a_shuffle_follows_the_global_seed():
    latents = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(seed)
        model = tfgen.models.Glow((8, 8, 4), levels=1, depth=1, width=4, permutation="shuffle")
        latents.append(model.encode(np.arange(256, dtype="uint8").reshape(1, 8, 8, 4)).numpy())
    np.testing.assert_array_equal(latents[0], latents[1])
    assert np.any(latents[0] != latents[2])


def test_fit_initializes_actnorm_from_the_first_batch_and_after_loading_does_not(tmp_path):
    model = tfgen.models.Glow((4, 4, 1), levels=1, depth=1, width=4)
    images = np.random.default_rng(1).integers(0, 256, (64, 4, 4, 1), "uint8")
    assert not model.initialized
    model.compile("sgd")
    model.optimizer.learning_rate = 0.0
    model.fit(tf.data.Dataset.from_tensor_slices(images).batch(64), epochs=1, verbose=0)
    assert model.initialized
    x = model._centers(images)
    step = model.flow.inner_bijectors[1]
    normalized = step.actnorm.inverse(model.flow.inner_bijectors[0].inverse(x)).numpy()
    np.testing.assert_allclose(normalized.mean((0, 1, 2)), 0.0, atol=0.02)
    np.testing.assert_allclose(normalized.std((0, 1, 2)), 1.0, atol=0.02)
    model.save_preset(tmp_path / "model")
    loaded = tfgen.zoo.load(tmp_path / "model")
    loaded.compile("sgd")
    loaded.optimizer.learning_rate = 0.0
    loaded.fit(images // 2, batch_size=64, epochs=1, verbose=0)
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_errors_for_bad_arguments_say_what_would_work():
    with pytest.raises(InputError, match="integer from 1 to 8, got 9"):
        tfgen.models.Glow((8, 8, 1), levels=1, depth=1, width=4, num_bits=9)
    with pytest.raises(InputError, match="multiples of 2\\^levels = 8, got 28x28"):
        tfgen.models.Glow((28, 28, 1), levels=3, depth=1, width=4)
    with pytest.raises(InputError, match="three positive integers"):
        tfgen.models.Glow((28, 28), levels=1, depth=1, width=4)
    with pytest.raises(InputError, match=r"three positive integers.*got 28"):
        tfgen.models.Glow(28, levels=1, depth=1, width=4)


def test_logits_of_dark_and_bright_pixels_keep_the_digits_of_their_offsets():
    """In float64, from the same float32 levels and offsets."""
    levels = np.array([0.0, 0.0, 1.0, 128.0, 254.0, 255.0, 255.0], "float32")
    offsets = np.array([1e-6, 0.3, 0.7, 0.5, 0.2, 0.6, 0.999], "float32")
    shape = (1, 1, len(levels), 1)
    found, log_det = LogitPreprocessing(shape[1:]).inverse_of_levels(
        levels.reshape(shape), offsets.reshape(shape), 8
    )
    level, offset = levels.astype("float64"), offsets.astype("float64")
    wide = 1 - 2 * SMALLEST
    p = SMALLEST + wide * (level + offset) / 256
    q = SMALLEST + wide * (256 - level - offset) / 256
    np.testing.assert_allclose(np.ravel(found), np.log(p / q), rtol=3e-7, atol=3e-7)
    np.testing.assert_allclose(log_det, [np.sum(np.log(wide / (p * q)))], rtol=3e-7)
