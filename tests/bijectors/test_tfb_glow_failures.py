"""Defects of TFP 0.25's `tfb.Glow` with Keras 3 networks, which tfgen's Glow does not have.

Each test first shows the defect in TFP, and fails if a release of TFP fixes it.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.bijectors.glow import ExitBijector

import tfgen
from tfgen import bijectors
from tfgen.training.strategy import choose


def convolution(filters, **options):
    return keras.layers.Conv2D(filters, 3, padding="same", **options)


def coupling_network(shape):
    last = convolution(2 * shape[-1], kernel_initializer="zeros")
    return keras.Sequential([keras.Input(shape), convolution(8, activation="relu"), last])


def exit_network(shape, output_chan):
    last = convolution(2 * output_chan, kernel_initializer="zeros")
    return keras.Sequential([keras.Input(shape), last])


def tfb_glow(**options):
    """TFP's Glow with two levels of one step and with networks of Keras 3."""
    return tfb.Glow(
        output_shape=(8, 8, 1),
        num_glow_blocks=2,
        coupling_bijector_fn=coupling_network,
        exit_bijector_fn=exit_network,
        **{"num_steps_per_block": 1, **options},
    )


def glow(**options):
    return bijectors.Glow((8, 8, 1), levels=2, width=8, **{"depth": 1, **options})


class Holder(keras.Model):
    """A Keras model of a flow, with the negative log-likelihood as its loss."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def call(self, x):
        z, log_det = self.flow(x)
        self.add_loss(tf.reduce_mean(0.5 * tf.reduce_sum(z**2, -1) - log_det))
        return z


def log_prob(flow, x):
    base = tfd.MultivariateNormalDiag(tf.zeros(64), tf.ones(64))
    return tfd.TransformedDistribution(base, flow).log_prob(x)


def test_1_the_defaults_build():
    with pytest.raises(TypeError, match="not callable"):
        tfb.Glow()
    quick = {"depth": 1, "width": 8}  # The defaults are as large as in the paper.
    flow = bijectors.Glow((32, 32, 3), **quick)
    assert flow.inverse(tf.zeros([2, 32, 32, 3])).shape == (2, 3072)
    defaults = flow.parameters | {"depth": 32, "width": 512}
    assert json.loads(json.dumps(dict(bijectors.Glow.__init__.__kwdefaults__))) == {
        key: defaults[key] for key in bijectors.Glow.__init__.__kwdefaults__
    }


def kernels_of(flow):
    return [v for v in flow.trainable_variables if len(v.shape) == 4]


def test_2_the_convolution_kernels_are_trainable_variables_and_train():
    x = tf.random.stateless_normal([8, 8, 8, 1], [0, 0])
    theirs = tfb_glow()
    theirs.inverse(x)
    assert theirs.trainable_variables
    assert not kernels_of(theirs)
    flow = glow()
    kernels = kernels_of(flow)
    assert len(kernels) == 2 * 3 + 1  # three in each step, one in the split
    optimizer = tfgen.optimizers.Adam(1e-2)
    before = [v.numpy() for v in kernels]
    for _ in range(2):  # The last kernel starts at zero: those before it move from the second step.
        with tf.GradientTape() as tape:
            z, log_det = flow.inverse_and_log_det(x)
            loss = tf.reduce_sum(z**2) - tf.reduce_sum(log_det)
        optimizer.apply(tape.gradient(loss, flow.trainable_variables), flow.trainable_variables)
    for old, kernel in zip(before, kernels, strict=True):
        assert np.any(old != kernel.numpy())


def test_3_a_keras_model_that_holds_it_has_its_weights():
    x = np.random.default_rng(0).normal(2.0, 3.0, (64, 8, 8, 1)).astype("float32")
    theirs = tfb_glow()
    holder = Holder(lambda x: (theirs.inverse(x), theirs.inverse_log_det_jacobian(x)))
    holder.bijector = theirs
    holder(x)
    assert theirs.trainable_variables
    assert not holder.trainable_weights
    flow = glow()
    model = Holder(bijectors.FlowLayer(flow))
    found = {id(w.value) for w in model.trainable_weights}
    assert found == {id(v) for v in flow.trainable_variables}
    model.compile(tfgen.optimizers.Adam(1e-2))
    losses = model.fit(x, np.zeros(64), batch_size=16, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_4_any_fraction_of_the_channels_may_leave():
    with pytest.raises(tf.errors.InvalidArgumentError, match="Incompatible shapes"):
        tfb_glow(grab_after_block=(0.25, 0.0)).inverse(tf.ones([2, 8, 8, 1]))
    squeeze = bijectors.Squeeze((8, 8, 1))
    split = bijectors.Split(squeeze.latent_shape, fraction=0.25)
    assert (split.staying, split.leaving) == (3, 1)
    z = split.inverse(squeeze.inverse(tf.ones([2, 8, 8, 1])))
    np.testing.assert_array_equal(squeeze.forward(split.forward(z)), np.ones([2, 8, 8, 1]))


def test_5_replicas_stay_identical():
    """Under MirroredStrategy every replica of tfb.Glow initializes its own actnorm."""
    strategy = choose("mirrored", "cpu:2")
    with strategy.scope():
        theirs, flow = tfb_glow(), glow(depth=2)
    x = tf.random.stateless_normal([16, 8, 8, 1], [0, 0], mean=3.0, stddev=2.0)

    def own_half():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return log_prob(theirs, x[8 * number : 8 * number + 8])

    @tf.function
    def on_each_replica(function):
        return strategy.run(function)

    on_each_replica(own_half)
    # A copy per replica: TFP's cache would return the first replica's result for the same tensor.
    first, second = on_each_replica(lambda: log_prob(theirs, tf.identity(x))).values
    assert np.max(np.abs(first - second)) > 10.0
    flow.initialize(x)
    first, second = on_each_replica(lambda: log_prob(flow, tf.identity(x))).values
    np.testing.assert_array_equal(first, second)
    for variable in flow.variables:
        for copy in variable.values[1:]:
            np.testing.assert_array_equal(copy, variable.values[0])


def test_6_it_exports_with_a_free_batch_and_without_flex(tmp_path):
    theirs = tfb_glow()
    theirs.inverse(tf.random.stateless_normal([8, 8, 8, 1], [0, 0]))
    decode = tf.function(theirs.forward)
    with pytest.raises(TypeError, match=r"int32.*int64|int64.*int32"):
        decode.get_concrete_function(tf.TensorSpec([None, 64]))
    graph = decode.get_concrete_function(tf.TensorSpec([2, 64]))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph], theirs)
    with pytest.raises(
        Exception, match=r"MatrixTriangularSolve.*neither a custom op nor a flex op"
    ):
        converter.convert()
    model = tfgen.models.Glow((8, 8, 1), levels=2, depth=1, width=8)
    model.initialize(tfgen.data.load("digits").images("train")[:64])
    path = tfgen.export.tflite(model, tmp_path / "glow.tflite")
    noise = np.random.default_rng(0).normal(size=(5, 64)).astype("float32")
    decode = Interpreter(str(path)).get_signature_runner("decode")
    for count in (1, 5):
        found = decode(latents=noise[:count])["images"]
        np.testing.assert_array_equal(found, model.decode(noise[:count]))
    served = tfgen.export.saved_model(model, tmp_path / "served")
    signature = tf.saved_model.load(str(served)).signatures["decode"]
    np.testing.assert_array_equal(
        signature(latents=tf.constant(noise))["images"], model.decode(noise)
    )


def test_7_a_split_starts_with_the_standard_normal_prior():
    """In tfb.Glow the channels that leave start with the standard deviation exp(-2)."""
    z = tf.random.stateless_normal([2, 4, 4, 4], [0, 0])
    theirs = tfb.Invert(ExitBijector((4, 4, 4), [2, 2, 0], exit_network)).forward(z)
    np.testing.assert_allclose(theirs[..., 2:], np.exp(-2.0) * z[..., 2:], rtol=1e-5)
    ours = bijectors.Split((4, 4, 4)).forward(z)
    np.testing.assert_array_equal(ours[..., 2:], z[..., 2:])
