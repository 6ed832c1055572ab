"""Tests of every model: the four verbs, training, saving, refusals."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.models import preset

CASES = {
    "vae": lambda: tfgen.models.VAE((8, 8, 1), latent_dim=3, hidden_units=[16]),
    "vae_logistic": lambda: tfgen.models.VAE(
        (8, 8, 3), latent_dim=3, hidden_units=[16], likelihood="quantized_logistic"
    ),
    "vae_importance": lambda: tfgen.models.VAE(
        (8, 8, 1),
        latent_dim=3,
        hidden_units=[16],
        num_importance_samples=4,
        num_monte_carlo_samples=2,
    ),
    "vae_flows": lambda: tfgen.models.VAE(
        (8, 8, 1),
        latent_dim=4,
        encoder="conv",
        decoder="conv",
        channels=[4, 8],
        hidden_units=[16],
        prior="flow",
        posterior="flow",
        flow_steps=1,
        flow_width=8,
    ),
    "vae_gaussian": lambda: tfgen.models.VAE(
        (8, 8, 3), latent_dim=3, hidden_units=[16], likelihood="gaussian"
    ),
    "glow": lambda: tfgen.models.Glow((8, 8, 3), levels=2, depth=2, width=8),
    "glow_variational": lambda: tfgen.models.Glow(
        (8, 8, 1), levels=2, depth=1, width=8, dequantization="variational", memory="reversible"
    ),
    "glow_additive": lambda: tfgen.models.Glow(
        (8, 4, 1),
        levels=1,
        depth=2,
        width=8,
        coupling="additive",
        permutation="shuffle",
        num_bits=5,
    ),
    "glow_class_conditional": lambda: tfgen.models.Glow(
        (8, 4, 1), levels=2, depth=1, width=8, num_classes=3
    ),
}
EVERY = pytest.mark.parametrize("case", CASES)


fresh = functools.cache(lambda case: CASES[case]())  # for the tests that change no weight


def test_every_exported_model_is_among_the_cases():
    assert {type(fresh(case)).__name__ for case in CASES} == set(tfgen.models.CLASSES)


def images_of(model, count=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *model.image_shape), "uint8")


def training_data(model, images):
    """The images, with labels for a class-conditional model."""
    labels = np.arange(len(images)) % (model.num_classes or 1)
    return (images, labels) if model.num_classes else (images,)


@EVERY
def test_the_verbs_have_their_shapes_and_types(case):
    model = fresh(case)
    images = images_of(model)
    log_prob, latents, samples = model.log_prob(images), model.encode(images), model.sample(4)
    assert (log_prob.dtype, log_prob.shape) == (tf.float32, (5,))
    assert (latents.dtype, latents.shape) == (tf.float32, (5, model.latent_dim))
    assert (samples.dtype, samples.shape) == (tf.uint8, (4, *model.image_shape))
    assert model.decode(latents).shape == images.shape
    assert model.reconstruct(images).dtype == tf.uint8
    assert model.interpolate(images[:2], images[2:4], steps=3).shape == (2, 3, *model.image_shape)
    np.testing.assert_allclose(
        model.bits_per_dim(images), -log_prob / np.prod(model.image_shape) / np.log(2), rtol=1e-6
    )


@pytest.mark.parametrize("case", ["vae", "glow_class_conditional"])
def test_calling_and_predicting_give_log_prob(case):
    model = fresh(case)
    images = images_of(model)
    expected = model.log_prob(images)
    labelled = tf.data.Dataset.from_tensor_slices((images, np.zeros(5, "int32")))
    for found in (
        model(images),
        model.predict(images, batch_size=2, verbose=0),
        model.predict_on_batch(images),
        model.predict(tf.data.Dataset.from_tensor_slices(images).batch(2), verbose=0),
        model.predict(labelled.batch(3), verbose=0),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@EVERY
def test_the_verbs_are_functions_of_each_image_alone(case):
    model = fresh(case)
    images = images_of(model, 300)
    for verb in (model.log_prob, model.encode):
        whole = verb(images).numpy()
        np.testing.assert_allclose(verb(images[7:8])[0], whole[7], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(verb(images[::-1])[::-1], whole, rtol=1e-4, atol=1e-5)


@EVERY
def test_the_verbs_work_inside_a_graph(case):
    model = fresh(case)
    images = images_of(model)

    @tf.function(input_signature=[tf.TensorSpec([None, *model.image_shape], tf.uint8)])
    def graph(images):
        return (
            model.log_prob(images),
            model.decode(model.encode(images)),
            model.bits_per_dim(images),
        )

    log_prob, reconstructed, _ = graph(images)
    np.testing.assert_allclose(log_prob, model.log_prob(images), rtol=1e-5)
    np.testing.assert_array_equal(reconstructed, model.reconstruct(images))


@EVERY
def test_sampling_is_decoding_of_scaled_noise_and_follows_its_seed(case):
    model = fresh(case)
    noise = tf.random.stateless_normal([6, model.latent_dim], [7, 0])
    np.testing.assert_array_equal(model.sample(6, 0.5, seed=7), model.decode(0.5 * noise))
    np.testing.assert_array_equal(model.sample(6, seed=7), model.sample(6, seed=7))
    cold = model.sample(6, temperature=0.0)
    np.testing.assert_array_equal(cold, np.broadcast_to(cold[:1], cold.shape))


@EVERY
def test_extreme_images_give_finite_numbers(case):
    model = fresh(case)
    for value in (0, 128, 255):
        images = np.full((1, *model.image_shape), value, "uint8")
        assert np.isfinite(model.log_prob(images)).all()
        assert np.isfinite(model.encode(images)).all()


@functools.cache
def trained(case):
    """A trained model, its data, the weights, bits/dim before and after, and Keras' history."""
    model = CASES[case]()
    images = np.repeat(images_of(model, 8), 8, axis=0)
    model.initialize(images)
    weights = [weight.numpy() for weight in model.trainable_weights]
    data, k = training_data(model, images), model.num_evaluation_samples
    before = float(tf.reduce_mean(model.bits_per_dim(*data, num_samples=k)))
    model.compile(keras.optimizers.Adam(3e-3))
    history = model.fit(*data, batch_size=16, epochs=4, verbose=0, validation_data=data).history
    after = float(tf.reduce_mean(model.bits_per_dim(*data, num_samples=k)))
    return model, data, weights, (before, after), history


@EVERY
def test_fit_learns_and_gives_every_weight_a_gradient(case):
    model, _, weights, (before, after), history = trained(case)
    assert after < before
    reported = ["loss", *model.reported_names]
    assert set(history) == {*reported, *(f"val_{name}" for name in reported)}
    np.testing.assert_allclose(history["val_bits_per_dim"][-1], after, rtol=1e-4)
    for weight, old in zip(model.trainable_weights, weights, strict=True):
        assert np.any(weight.numpy() != old), weight.path


@EVERY
def test_presets_restore_the_model_bit_for_bit(case, tmp_path):
    model = trained(case)[0]
    images = images_of(model)
    model.save_preset(tmp_path / "model")
    loaded = tfgen.zoo.load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.log_prob(images), model.log_prob(images))
    np.testing.assert_array_equal(loaded.sample(3, seed=1), model.sample(3, seed=1))
    assert loaded.initialized
    weights_file = tmp_path / "model" / preset.WEIGHTS
    assert weights_file.stat().st_size < 4 * model.count_params() + 400_000  # no optimizer inside


@EVERY
def test_a_model_that_is_not_compiled_is_saved(case, tmp_path):
    model = CASES[case]()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    assert loaded.get_config() == json.loads(json.dumps(model.get_config())) | {
        "image_shape": model.image_shape
    }
    for found, weight in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, weight)


@EVERY
def test_keras_own_saving_restores_the_model_and_its_optimizer(case, tmp_path):
    model, data, *_ = trained(case)
    images = images_of(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.log_prob(images), model.log_prob(images))
    for each in (model, loaded):
        batch = [part[:16] for part in data]
        each.fit(*batch, batch_size=16, epochs=1, verbose=0, shuffle=False)
    np.testing.assert_allclose(loaded.log_prob(images), model.log_prob(images), rtol=1e-5)


@EVERY
def test_bad_input_is_refused(case):
    model = fresh(case)
    height, width, channels = model.image_shape
    for call, message in (
        (lambda: model.log_prob(images_of(model).astype("float32")), "uint8 .* got float32"),
        (lambda: model.log_prob(images_of(model)[0]), "must have shape"),
        (
            lambda: model.encode(np.zeros((2, height, width + 1, channels), "uint8")),
            "must have shape",
        ),
        (lambda: model.decode(np.zeros((2, model.latent_dim + 1), "float32")), "must have shape"),
        (lambda: model.decode(np.zeros(model.latent_dim, "float32")), "latents must be float32"),
        (lambda: model.decode(np.full((1, model.latent_dim), np.nan, "float32")), "finite"),
        (lambda: model.sample(0), "positive integer, got 0"),
        (lambda: model.sample(True), "positive integer, got True"),
        (lambda: model.sample(2, temperature="a"), "number >= 0, got 'a'"),
        (lambda: model.sample(2, seed=1.5), "seed must be an integer from .* got 1.5"),
        (lambda: model.interpolate(images_of(model), images_of(model)[:3], 3), "got 5 and 3"),
        (lambda: model.sample(2, temperature=-1.0), "number >= 0, got -1.0"),
        (lambda: model.interpolate(images_of(model), images_of(model), 1), "at least 2, got 1"),
    ):
        with pytest.raises(InputError, match=message):
            call()


@EVERY
def test_an_attribute_direction_leads_from_one_mean_to_the_other(case):
    model = fresh(case)
    dark, light = images_of(model, 6) // 4, 192 + images_of(model, 9) // 4
    direction = model.attribute_direction(light, dark)
    expected = np.mean(model.encode(light), 0) - np.mean(model.encode(dark), 0)
    np.testing.assert_allclose(direction, expected, atol=1e-5)
    np.testing.assert_array_equal(model.manipulate(dark, direction, 0.0), model.reconstruct(dark))
    np.testing.assert_array_equal(
        model.manipulate(dark, direction, 0.5), model.decode(model.encode(dark) + 0.5 * direction)
    )
    if case.startswith("glow"):
        assert np.mean(model.manipulate(dark, direction, 1.0)) > np.mean(dark) + 20
    with pytest.raises(InputError, match="direction must have shape"):
        model.manipulate(dark, direction[1:], 1.0)
    with pytest.raises(InputError, match="images_without is empty"):
        model.attribute_direction(light, dark[:0])


@EVERY
def test_an_empty_batch_gives_empty_results(case):
    model = fresh(case)
    images = images_of(model)[:0]
    assert model.log_prob(images).shape == (0,)
    assert model.encode(images).shape == (0, model.latent_dim)
    assert model.decode(model.encode(images)).shape == images.shape


@EVERY
def test_training_refuses_what_the_verbs_refuse(case):
    model = CASES[case]()
    images = images_of(model)
    model.initialize(images)
    model.compile(keras.optimizers.Adam(1e-3))
    with pytest.raises(InputError, match="images must be uint8"):
        model.fit(images / 255.0, verbose=0)
    with pytest.raises(InputError, match="sample weights are not supported"):
        model.fit(images, np.zeros(5), sample_weight=np.ones(5), verbose=0)
    with pytest.raises(InputError, match="images must be uint8"):
        model(images / 255.0)
