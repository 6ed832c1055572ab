"""Tests of every network: shapes, precision, gradients, and saving like any Keras model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen import networks
from tfgen.errors import InputError

NETWORKS = {
    "convolutional": lambda dtype: networks.convolutional((4, 4, 2), 6, width=8, dtype=dtype),
    "coupling_mlp": lambda dtype: networks.coupling_mlp((3,), 6, width=8, dtype=dtype),
    "gated_residual": lambda dtype: networks.gated_residual(
        (4, 4, 2), 6, width=8, blocks=2, dtype=dtype
    ),
    "image_features": lambda dtype: networks.image_features((4, 4, 1), 6, width=8, dtype=dtype),
    "masked_mlp": lambda dtype: networks.masked_mlp(3, 2, width=8, dtype=dtype),
    "mlp": lambda dtype: networks.mlp(5, 6, widths=(4,), dtype=dtype),
    "residual_decoder": lambda dtype: networks.residual_decoder(
        3, (7, 8, 6), channels=(4,), dtype=dtype
    ),
    "residual_encoder": lambda dtype: networks.residual_encoder(
        (7, 8, 1), 6, channels=(4,), dtype=dtype
    ),
}
EVERY = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def test_every_exported_network_is_among_the_cases():
    assert sorted(NETWORKS) == sorted(networks.__all__)


def trained(network):
    """The network with weights changed at random: some layers start at zero."""
    for number, weight in enumerate(network.weights):
        noise = tf.random.stateless_normal(weight.shape, [0, number], stddev=0.3)
        weight.assign_add(tf.cast(noise, weight.dtype))
    return network


def inputs_of(network, dtype="float32"):
    shape = (2, *network.input_shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_outputs_have_the_dtype_and_weights_at_least_float32(make, dtype):
    network = make(dtype)
    output = network(inputs_of(network))
    assert output.dtype == dtype
    assert output.shape == (2, *network.output_shape[1:])
    assert output.shape[-1] == 6
    assert {w.dtype for w in network.weights} == {"float64" if dtype == "float64" else "float32"}


@EVERY
def test_every_weight_gets_a_gradient(make):
    network = trained(make("float64"))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(inputs_of(network, "float64")) ** 2)
    weights = network.trainable_weights
    for weight, gradient in zip(
        weights, tape.gradient(loss, [w.value for w in weights]), strict=True
    ):
        assert np.any(gradient), weight.path


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_networks_are_saved_like_any_keras_model(make, dtype, tmp_path):
    network = trained(make(dtype))
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    x = inputs_of(network)
    np.testing.assert_array_equal(loaded(x), network(x))


@pytest.mark.parametrize("name", ["convolutional", "coupling_mlp", "gated_residual", "masked_mlp"])
def test_networks_of_couplings_start_at_zero(name):
    network = NETWORKS[name]("float32")
    np.testing.assert_array_equal(network(inputs_of(network)), 0.0)


def test_the_kinks_of_a_coupling_network_of_one_input_are_apart():
    keras.utils.set_random_seed(0)
    hidden = networks.coupling_mlp((1,), 6, width=64).get_layer("hidden_0")
    kinks = -hidden.bias.numpy() / hidden.kernel.numpy()[0]
    low, high = np.quantile(kinks, [0.25, 0.75])
    assert low < -0.2
    assert high > 0.2


def test_gated_networks_are_the_equations_of_their_docstring():
    network = networks.gated_residual((5, 4, 2), 3, width=4, blocks=2, dtype="float64")
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=w.shape) for w in network.get_weights()]
    network.set_weights(weights)
    x = generator.normal(size=(2, 5, 4, 2))
    kernel = iter(weights)

    def convolution(h):
        weight, bias = next(kernel), next(kernel)
        if weight.shape[0] == 1:
            return h @ weight[0, 0] + bias
        padded = np.pad(h, [(0, 0), (1, 1), (1, 1), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("nhwcij,ijcd->nhwd", windows, weight) + bias

    h = convolution(x)
    for _ in range(2):
        inner = np.maximum(convolution(np.maximum(h, 0.0)), 0.0)
        values, gates = np.split(convolution(inner), 2, axis=-1)
        h = h + values / (1.0 + np.exp(-gates))
    np.testing.assert_allclose(network(x), convolution(np.maximum(h, 0.0)), rtol=1e-12, atol=1e-10)


def test_residual_blocks_start_as_the_identity_and_then_train():
    shape = (8, 8, 1)
    plain = networks.residual_encoder(shape, 3, channels=(4,), blocks=0, hidden_units=())
    deep = networks.residual_encoder(shape, 3, channels=(4,), blocks=2, hidden_units=())
    for weight, other in zip(plain.weights, [*deep.weights[:2], *deep.weights[-2:]], strict=True):
        weight.assign(other)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    np.testing.assert_allclose(plain(x), deep(x), atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(deep(x) ** 2)
    gradients = tape.gradient(loss, [w.value for w in deep.trainable_weights])
    assert all(np.any(g != 0) for g in gradients[4:6])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.gated_residual((4, 4, 2), 6, blocks=0), "network: blocks must be a posi"),
        (lambda: networks.residual_decoder(2, (8, 8, 1), channels=()), "at least one element"),
        (lambda: networks.residual_encoder((8, 8, 1), 2, channels=()), "at least one element"),
        (
            lambda: networks.residual_encoder((7, 8, 1), 2, channels=(4, 4, 4)),
            r"7x8 images cannot be halved 3 times, .*\[4, 4, 4\]: give fewer",
        ),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
