"""The memory modes of a sequence of steps: the same gradients with fewer stored activations."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen import bijectors
from tfgen.errors import InputError
from tfgen.training import strategy

MODES = ["checkpoint", "reversible"]


def flow(memory, dtype="float64", **options):
    built = bijectors.Glow(
        (8, 8, 2), **{"levels": 2, "depth": 3, "width": 8, **options}, memory=memory, dtype=dtype
    )
    generator = np.random.default_rng(0)
    for variable in built.trainable_variables:
        noise = generator.normal(size=variable.shape, scale=0.05)
        variable.assign(tf.cast(noise, variable.dtype))
    return built


def gradients(built, x):
    """Gradients of a function of latents and log-determinants, by x and by every weight."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = built.inverse_and_log_det(x)
        loss = tf.reduce_sum(z**3) + tf.reduce_sum(log_det * tf.range(1.0, 4.0, dtype=x.dtype))
    return tape.gradient(loss, [x, *built.trainable_variables])


@pytest.mark.parametrize("permutation", ["invertible_conv", "shuffle"])
@pytest.mark.parametrize("coupling", ["affine", "additive"])
@pytest.mark.parametrize("memory", MODES)
def test_gradients_equal_those_of_the_plain_mode(memory, coupling, permutation):
    assert_same_gradients(memory, [False, True], coupling=coupling, permutation=permutation)


@pytest.mark.parametrize("memory", MODES)
def test_gradients_of_checkerboards_and_gated_networks_equal_those_of_the_plain_mode(memory):
    options = {"levels": 1, "depth": 1, "network": "gated", "blocks": 1, "checkerboard": 2}
    assert_same_gradients(memory, [False], **options)


def assert_same_gradients(memory, compiled, **options):
    plain, recomputing = flow("plain", **options), flow(memory, **options)
    for ours, theirs in zip(recomputing.variables, plain.variables, strict=True):
        ours.assign(theirs)
    x = tf.random.stateless_normal([3, 8, 8, 2], [0, 1], dtype="float64")
    expected = gradients(plain, x)
    for graph in compiled:
        function = tf.function(gradients) if graph else gradients
        for found, other in zip(function(recomputing, x), expected, strict=True):
            scale = np.abs(other).max()
            assert scale > 0
            np.testing.assert_allclose(found, other, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("memory", ["plain", *MODES])
def test_precomputed_results_do_not_change_values(memory):
    model = tfgen.models.Glow((4, 4, 1), levels=1, depth=3, width=4, memory=memory)
    for number, weight in enumerate(model.trainable_weights):
        weight.assign_add(0.1 * tf.random.stateless_normal(weight.shape, [0, number]))
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), "uint8")
    expected = model.log_prob(images)
    with model.precomputed() as held:
        assert len(held) == 3 * 5
        np.testing.assert_allclose(model.log_prob(images), expected, rtol=1e-5)
    np.testing.assert_array_equal(model.log_prob(images), expected)
    with contextlib.suppress(OSError), model.precomputed():
        model.log_prob(images)
        raise OSError("disk full")
    model.trainable_weights[0].assign_add(tf.ones_like(model.trainable_weights[0]))
    assert np.all(np.abs(model.log_prob(images) - expected) > 0.1)


def test_training_takes_the_same_steps():
    images = tfgen.data.load("digits").images("train")[:64]
    results, start = [], None
    for memory in ("plain", *MODES):
        model = tfgen.models.Glow((8, 8, 1), levels=2, depth=2, width=8, memory=memory)
        start = start or model.get_weights()
        model.set_weights(start)
        model.compile(tfgen.optimizers.Adam(1e-3), seed=1)
        model.fit(images, batch_size=32, epochs=1, shuffle=False, verbose=0)
        results.append(model.get_weights())
    plain, *others = results
    for found in others:
        for a, b in zip(found, plain, strict=True):
            np.testing.assert_allclose(a.astype("float64"), b.astype("float64"), atol=2e-5)


def test_reversible_training_on_two_devices():
    images = tfgen.data.load("digits").images("train")[:64]
    with strategy.choose("mirrored", "cpu:2").scope():
        model = tfgen.models.Glow((8, 8, 1), levels=2, depth=2, width=8, memory="reversible")
        model.compile(tfgen.optimizers.Adam(1e-3), seed=1)
    history = model.fit(images, batch_size=32, epochs=4, verbose=0).history["bits_per_dim"]
    assert history[-1] < history[0]
    for weight in model.weights:
        first, second = (v.numpy() for v in weight.value.values)
        np.testing.assert_array_equal(first, second)


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="plain, checkpoint, reversible, got 'small'"):
        bijectors.Glow((8, 8, 2), levels=1, depth=1, width=8, memory="small")
