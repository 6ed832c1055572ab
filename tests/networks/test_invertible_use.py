"""Which networks of a caller a coupling accepts, and which layer is named otherwise."""

import keras
import pytest
import tensorflow as tf
from keras import layers

import tfgen
from tfgen.errors import InputError


class OfTheBatch(layers.Layer):
    def call(self, x):
        return x - tf.reduce_mean(x, axis=0)


class OfThePhase(layers.Layer):
    def call(self, x, training=None):
        return 2.0 * x if training else x


class OfChance(layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class Counting(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        self.calls.assign(self.calls + 1.0)
        return x


class Opaque(keras.Model):
    """Keras sees no layers between its input and its output."""

    def __init__(self, inner, **options):
        super().__init__(**options)
        self.inner, self.last = inner, layers.Dense(2)

    def call(self, x):
        return self.last(self.inner(x) if self.inner else x - tf.reduce_mean(x, 0, keepdims=True))


def network(*inner):
    """Ends with zeros, as couplings' networks do: its outputs alone would hide the layers."""
    zeros = layers.Dense(2, kernel_initializer="zeros")
    return keras.Sequential([keras.Input((2,)), layers.Dense(4, activation="tanh"), *inner, zeros])


REFUSED = {
    "dropout": (lambda: network(layers.Dropout(0.1, name="bad")), "changes its state in training"),
    "noise": (lambda: network(layers.GaussianNoise(0.1, name="bad")), "changes its state"),
    "batch": (lambda: network(layers.BatchNormalization(name="bad")), "in training"),
    "spectral": (
        lambda: network(layers.SpectralNormalization(layers.Dense(3), name="bad")),
        "changes its state in training",
    ),
    "of the batch": (lambda: network(OfTheBatch(name="bad")), "the other inputs of the batch"),
    "of the phase": (lambda: network(OfThePhase(name="bad")), "in training than in inference"),
    "of chance": (lambda: network(OfChance(name="bad")), "computes at random"),
    "counting": (lambda: network(Counting(name="bad")), "changes its state when it is called"),
    "nested": (
        lambda: network(keras.Sequential([layers.Dense(3), layers.Dropout(0.1, name="bad")])),
        "in training",
    ),
    "inside a model": (lambda: Opaque(layers.Dropout(0.1, name="bad")), "in training"),
}
ALLOWED = {
    "plain": lambda: network(),
    "no dropout": lambda: network(layers.Dropout(0.0)),
    "layer norm": lambda: network(layers.LayerNormalization(), layers.UnitNormalization()),
    "group norm": lambda: network(layers.GroupNormalization(2)),
    "regularized": lambda: network(layers.Dense(3, "tanh", True, "glorot_uniform", "zeros", "l2")),
    "inside a model": lambda: Opaque(layers.Dense(3)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_network_that_cannot_be_inverted_is_refused(case):
    make, reason = REFUSED[case]
    given = make()
    given(tf.zeros([1, 2]))
    before = [variable.numpy() for variable in given.variables]
    with pytest.raises(InputError, match=rf"additive_coupling: .*its layer bad \(.*{reason}"):
        tfgen.bijectors.AdditiveCoupling((4,), network=given)
    if case != "counting":  # which counts the call that checks the shapes
        for variable, old in zip(given.variables, before, strict=True):
            assert (variable.numpy() == old).all(), variable.path


@pytest.mark.parametrize("case", ALLOWED)
def test_other_networks_are_used(case):
    coupling = tfgen.bijectors.AdditiveCoupling((4,), network=ALLOWED[case]())
    x = tf.random.stateless_normal([3, 4], seed=[0, 0])
    assert tf.reduce_max(tf.abs(coupling.forward(coupling.inverse(x) + 0.0) - x)) < 1e-5


def test_the_network_itself_is_named_and_other_objects_are_refused():
    given = Opaque(None, name="mine")
    with pytest.raises(InputError, match=r"but it \(Opaque\) computes outputs that depend on"):
        tfgen.bijectors.AdditiveCoupling((4,), network=given)
    with pytest.raises(InputError, match="must be a Keras model or layer, got function"):
        tfgen.bijectors.AdditiveCoupling((4,), network=lambda x: x)
    dropping = keras.Sequential([keras.Input((4, 4, 2)), layers.Dropout(0.5, name="bad")])
    for make in (
        lambda: tfgen.bijectors.GlowStep((4, 4, 4), coupling="additive", network=dropping),
        lambda: tfgen.bijectors.Glow((8, 8, 1), levels=1, coupling="additive", network=dropping),
    ):
        with pytest.raises(InputError, match="its layer bad"):
            make()
