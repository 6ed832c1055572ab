"""Losses that layers add inside a flow: counted once, with their gradients, in every graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfgen
from tfgen.bijectors.step_sequence import StepSequence
from tfgen.fitting.phase import run_in_phase

X = tf.random.stateless_normal([4, 8, 8, 1], seed=[0, 0])


def flow(memory):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.Conv2D(4, 3, padding="same", activation="tanh", activity_regularizer="l2"),
            layers.Conv2D(4, 1, kernel_regularizer="l2"),
        ]
    )
    glow = tfgen.bijectors.Glow((8, 8, 1), levels=1, depth=2, network=network, memory=memory)
    return keras.Sequential([tfgen.bijectors.FlowLayer(glow)])


def loss_and_gradients(model, x):
    with tf.GradientTape() as tape:
        (z, log_det), losses = run_in_phase(model, model, x, training=True)
        loss = tf.reduce_mean(z**2) - 0.01 * tf.reduce_mean(log_det) + 10.0 * losses
    return losses, tape.gradient(loss, [w.value for w in model.trainable_weights])


@pytest.fixture(scope="module")
def plain():
    """Eagerly, layer by layer, as plain Keras does it."""
    model = flow("plain")
    with tf.GradientTape() as tape:
        z, log_det = model(X, training=True)
        losses = tf.add_n(model.losses)
        loss = tf.reduce_mean(z**2) - 0.01 * tf.reduce_mean(log_det) + 10.0 * losses
    assert len(model.losses) == 3  # two calls of the shared network, and one kernel
    return losses, tape.gradient(loss, [w.value for w in model.trainable_weights])


@pytest.mark.parametrize("memory", ["plain", "checkpoint", "reversible"])
def test_they_are_those_of_plain_keras(memory, plain):
    model = flow(memory)
    losses, gradients = tf.function(lambda x: loss_and_gradients(model, x))(X)
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)
    for gradient, expected in zip(gradients, plain[1], strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=1e-4)


def test_networks_of_one_name_are_told_apart():
    """Steps with the same arguments share a trace; these differ in their network only."""
    x = tf.ones([1, 4])
    steps, expected = [], 0.0
    for sign in (1.0, -3.0):
        network = keras.Sequential(
            [keras.Input((2,)), layers.Rescaling(sign), layers.Dense(2, "linear", False, "ones")],
            name="same",
        )
        steps.append(tfgen.bijectors.AdditiveCoupling((4,), network=network))
        expected += sign * 2.0
    sequence = StepSequence(steps)
    z, _ = tf.function(sequence.inverse)(x)
    np.testing.assert_allclose(z[0, :2], 1.0 + expected, rtol=1e-6)
