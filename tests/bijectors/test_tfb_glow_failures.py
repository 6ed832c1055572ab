"""Six things that `tfb.Glow` of TFP 0.25 gets wrong on Keras 3, done right."""

import json

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow_probability import distributions as tfd

import tfgen
from tfgen import bijectors
from tfgen.training.strategy import choose


def test_1_the_defaults_build():
    """tfb.Glow() raises TypeError."""
    arguments = {
        "depth": 1,
        "width": 8,
    }  # Only to be quick: the defaults are as large as the paper's.
    flow = bijectors.Glow((32, 32, 3), **arguments)
    assert flow.inverse(tf.zeros([2, 32, 32, 3])).shape == (2, 3072)
    defaults = flow.parameters | {"depth": 32, "width": 512}
    assert json.loads(json.dumps(dict(bijectors.Glow.__init__.__kwdefaults__))) == {
        key: defaults[key] for key in bijectors.Glow.__init__.__kwdefaults__
    }


def test_2_the_convolution_kernels_are_trainable_variables_and_train():
    """With Keras 3 networks tfb.Glow has no kernel among its `trainable_variables`."""
    flow = bijectors.Glow((8, 8, 1), levels=2, depth=1, width=8)
    kernels = [v for v in flow.trainable_variables if len(v.shape) == 4]
    assert len(kernels) == 2 * 3 + 1  # three in each step, one in the split
    x = tf.random.stateless_normal([8, 8, 8, 1], [0, 0])
    optimizer = tfgen.optimizers.Adam(1e-2)
    before = [v.numpy() for v in kernels]
    for _ in range(2):  # The last kernel starts at zero: those before it move from the second step.
        with tf.GradientTape() as tape:
            z, log_det = flow.inverse_and_log_det(x)
            loss = tf.reduce_sum(z**2) - tf.reduce_sum(log_det)
        optimizer.apply(tape.gradient(loss, flow.trainable_variables), flow.trainable_variables)
    for old, kernel in zip(before, kernels, strict=True):
        assert np.any(old != kernel.numpy())


def test_3_a_keras_layer_that_holds_it_has_its_weights():
    """A Keras 3 layer that holds tfb.Glow has 0 trainable weights."""
    flow = bijectors.Glow((8, 8, 1), levels=2, depth=1, width=8)

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.flow = bijectors.FlowLayer(flow)

        def call(self, x):
            z, log_det = self.flow(x)
            self.add_loss(tf.reduce_mean(0.5 * tf.reduce_sum(z**2, -1) - log_det))
            return z

    model = Model()
    found = {id(w.value) for w in model.trainable_weights}
    assert found == {id(v) for v in flow.trainable_variables}
    x = np.random.default_rng(0).normal(2.0, 3.0, (64, 8, 8, 1)).astype("float32")
    model.compile(tfgen.optimizers.Adam(1e-2))
    losses = model.fit(x, np.zeros(64), batch_size=16, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_4_any_fraction_of_the_channels_may_leave():
    """tfb.Glow(grab_after_block=(0.25, 0.)) raises a shape error."""
    squeeze = bijectors.Squeeze((8, 8, 1))
    split = bijectors.Split(squeeze.latent_shape, fraction=0.25)
    assert (split.staying, split.leaving) == (3, 1)
    z = split.inverse(squeeze.inverse(tf.ones([2, 8, 8, 1])))
    np.testing.assert_array_equal(squeeze.forward(split.forward(z)), np.ones([2, 8, 8, 1]))


def test_5_replicas_stay_identical():
    """Under MirroredStrategy every replica of tfb.Glow initializes its own actnorm."""
    strategy = choose("mirrored", "cpu:2")
    with strategy.scope():
        flow = bijectors.Glow((8, 8, 1), levels=2, depth=2, width=8)
    x = tf.random.stateless_normal([16, 8, 8, 1], [0, 0], mean=3.0, stddev=2.0)
    flow.initialize(x)
    density = tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(tf.zeros(64), tf.ones(64)), flow
    )
    first, second = strategy.run(tf.function(lambda: density.log_prob(x))).values
    np.testing.assert_array_equal(first, second)
    for variable in flow.variables:
        for copy in variable.values[1:]:
            np.testing.assert_array_equal(copy, variable.values[0])


def test_6_it_exports_with_a_free_batch_and_without_flex(tmp_path):
    """tfb.Glow fails to export with a dynamic batch, and needs Flex in TFLite."""
    model = tfgen.models.Glow((8, 8, 1), levels=2, depth=2, width=8)
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
