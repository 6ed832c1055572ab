"""Encoders and decoders: convolutional, given by the caller, and of extreme sizes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen import networks
from tfgen.errors import InputError

CONV = {"encoder": "conv", "decoder": "conv", "channels": [4, 6], "hidden_units": [8]}


def images_of(shape, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype("uint8")


def own_networks(latent_dim=2, parameters=1):
    encoder = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(3, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(2 * latent_dim),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((latent_dim,)),
            keras.layers.Dense(64 * parameters),
            keras.layers.Reshape((8, 8, parameters)),
        ]
    )
    return encoder, decoder


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 10, 1), (28, 28, 1), (5, 5, 3)])
def test_convolutional_networks_take_every_size(shape):
    likelihood = "bernoulli" if shape[-1] == 1 else "quantized_logistic"
    model = tfgen.models.VAE(shape, latent_dim=3, likelihood=likelihood, **CONV)
    images = images_of(shape)
    assert model.log_prob(images).shape == (3,)
    assert model.reconstruct(images).shape == images.shape


def test_the_parameters_of_a_convolutional_decoder_are_those_of_its_channels():
    """Gaussian, RGB: the first three channels are means, the others scales."""
    model = tfgen.models.VAE((8, 8, 3), latent_dim=3, likelihood="gaussian", **CONV)
    latents = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    planes = model.decoder(latents).numpy()
    outputs = model.decoder_outputs(tf.constant(latents)).numpy()
    np.testing.assert_array_equal(outputs[:, :192], planes[..., :3].reshape(4, -1))
    np.testing.assert_array_equal(outputs[:, 192:], planes[..., 3:].reshape(4, -1))
    expected = 256 / (1 + np.exp(-planes[..., :3].astype("float64"))) - 0.5
    decoded = model.decode(latents).numpy()
    assert np.abs(decoded - np.clip(np.round(expected), 0, 255)).max() <= 1


def test_bfloat16_networks_keep_float32_weights_and_nearly_the_same_values():
    reference = tfgen.models.VAE((8, 8, 1), latent_dim=4, prior="flow", flow_steps=1, **CONV)
    half = tfgen.models.VAE(
        (8, 8, 1), latent_dim=4, prior="flow", flow_steps=1, network_dtype="bfloat16", **CONV
    )
    half.set_weights(reference.get_weights())
    assert {w.dtype for w in half.trainable_weights} == {"float32"}
    images = images_of((8, 8, 1))
    np.testing.assert_allclose(half.log_prob(images), reference.log_prob(images), rtol=0.02)


def test_networks_of_the_caller_are_trained_saved_and_loaded(tmp_path):
    encoder, decoder = own_networks()
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, encoder=encoder, decoder=decoder)
    images = images_of((8, 8, 1), 16)
    before = [w.numpy() for w in model.trainable_weights]
    assert len(before) == len(encoder.trainable_weights) + len(decoder.trainable_weights)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(images, batch_size=8, epochs=2, verbose=0)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.any(weight.numpy() != old), weight.path
    model.save_preset(tmp_path / "model")
    loaded = tfgen.zoo.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.log_prob(images), model.log_prob(images))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.log_prob(images), model.log_prob(images))


def test_networks_of_other_shapes_are_refused():
    encoder, decoder = own_networks()
    with pytest.raises(InputError, match=r"encoder must map \[N, 8, 8, 1\] to \[N, 6\].*\[N, 4\]"):
        tfgen.models.VAE((8, 8, 1), latent_dim=3, encoder=encoder)
    with pytest.raises(InputError, match=r"to \[N, 8, 8, 2\], but its output is \[N, 8, 8, 1\]"):
        tfgen.models.VAE((8, 8, 1), latent_dim=2, decoder=decoder, likelihood="gaussian")
    with pytest.raises(InputError, match=r"encoder must map \[N, 4, 4, 1\].*does not accept such"):
        tfgen.models.VAE((4, 4, 1), latent_dim=2, encoder=encoder)


@pytest.mark.parametrize("latent_dim", [1, 200])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "quantized_logistic"])
def test_extreme_sizes_give_no_nan(latent_dim, likelihood):
    model = tfgen.models.VAE(
        (4, 4, 1), latent_dim=latent_dim, likelihood=likelihood, hidden_units=[8]
    )
    images = np.stack([np.full((4, 4, 1), v, "uint8") for v in (0, 1, 128, 254, 255)])
    model.compile(tfgen.optimizers.Adam(1e-2))
    model.fit(images, batch_size=5, epochs=30, verbose=0)
    found = [
        model.log_prob(images),
        model.log_prob(images, num_samples=5),
        model.log_prob(images, num_samples=300),
    ]
    assert np.isfinite(found).all()
    assert np.isfinite(model.encode(images)).all()
    far = np.full((2, latent_dim), 30.0, "float32") * [[1.0], [-1.0]]
    assert model.decode(far.astype("float32")).shape == (2, 4, 4, 1)
    for weight in model.trainable_weights:
        assert np.isfinite(weight.numpy()).all()


def test_a_model_with_a_given_decoder_is_saved_as_a_preset(tmp_path):
    decoder = networks.residual_decoder(2, (8, 8, 1), channels=(4,), hidden_units=(4,))
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4], decoder=decoder)
    model.save_preset(tmp_path)
    images = images_of((8, 8, 1))
    np.testing.assert_array_equal(tfgen.zoo.load(tmp_path).log_prob(images), model.log_prob(images))


def test_a_decoder_needs_channels():
    with pytest.raises(InputError, match="channels must have at least one"):
        tfgen.models.VAE((8, 8, 1), latent_dim=2, decoder="conv", channels=[])
