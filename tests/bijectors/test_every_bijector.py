"""Tests of every bijector: shapes, inverse, log-determinant, gradients, weights."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfgen import bijectors
from tfgen.bijectors import serialization
from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.weights import weights_of
from tfgen.errors import InputError
from tfgen.training.strategy import choose

SHAPE = (4, 4, 4)
CASES = {
    "actnorm": lambda dtype: bijectors.ActNorm(SHAPE, dtype=dtype),
    "invertible_conv": lambda dtype: bijectors.InvertibleConv1x1(SHAPE, dtype=dtype),
    "invertible_conv_plain": lambda dtype: bijectors.InvertibleConv1x1(
        SHAPE, lu=False, dtype=dtype
    ),
    "shuffle": lambda dtype: bijectors.Permutation(SHAPE, kind="shuffle", seed=1, dtype=dtype),
    "reverse": lambda dtype: bijectors.Permutation(SHAPE, kind="reverse", dtype=dtype),
    "affine": lambda dtype: bijectors.AffineCoupling(SHAPE, width=6, dtype=dtype),
    "affine_sigmoid": lambda dtype: bijectors.AffineCoupling(
        SHAPE, width=6, scale="sigmoid", dtype=dtype
    ),
    "additive": lambda dtype: bijectors.AdditiveCoupling(SHAPE, width=6, dtype=dtype),
    "checkerboard": lambda dtype: bijectors.CheckerboardCoupling(
        (4, 4, 3), parity=1, width=6, network="gated", blocks=1, dtype=dtype
    ),
    "affine_conditional": lambda dtype: bijectors.AffineCoupling(
        SHAPE, width=6, context_channels=3, dtype=dtype
    ),
    "additive_conditional": lambda dtype: bijectors.AdditiveCoupling(
        SHAPE, width=6, context_channels=3, dtype=dtype
    ),
    "step_conditional": lambda dtype: bijectors.GlowStep(
        SHAPE, width=6, context_channels=3, dtype=dtype
    ),
    "step_conditional_of_vectors": lambda dtype: bijectors.GlowStep(
        (6,), permutation="reverse", width=6, context_channels=2, dtype=dtype
    ),
    "squeeze": lambda dtype: bijectors.Squeeze(SHAPE, dtype=dtype),
    "split": lambda dtype: bijectors.Split(SHAPE, dtype=dtype),
    "split_quarter": lambda dtype: bijectors.Split(SHAPE, fraction=0.25, dtype=dtype),
    "step": lambda dtype: bijectors.GlowStep(SHAPE, width=6, dtype=dtype),
    "step_shuffle_additive": lambda dtype: bijectors.GlowStep(
        SHAPE, permutation="shuffle", coupling="additive", width=6, dtype=dtype
    ),
    "affine_of_vectors": lambda dtype: bijectors.AffineCoupling((6,), width=6, dtype=dtype),
    "additive_of_vectors": lambda dtype: bijectors.AdditiveCoupling((6,), width=6, dtype=dtype),
    "step_of_vectors": lambda dtype: bijectors.GlowStep((6,), width=6, dtype=dtype),
    "shuffle_of_vectors": lambda dtype: bijectors.GlowStep(
        (6,), permutation="shuffle", width=6, dtype=dtype
    ),
    "step_of_odd_vectors": lambda dtype: bijectors.GlowStep((3,), width=6, dtype=dtype),
    "step_of_odd_channels": lambda dtype: bijectors.GlowStep(
        (4, 4, 3), permutation="reverse", coupling="additive", width=6, dtype=dtype
    ),
    "spline": lambda dtype: bijectors.RationalQuadraticCoupling(
        (2, 2, 3), num_bins=4, tail_bound=2.0, width=6, dtype=dtype
    ),
    "spline_of_vectors_conditional": lambda dtype: bijectors.RationalQuadraticCoupling(
        (3,), num_bins=3, context_channels=2, width=6, dtype=dtype
    ),
    "autoregressive": lambda dtype: bijectors.MaskedAutoregressive((5,), width=6, dtype=dtype),
    "autoregressive_conditional": lambda dtype: bijectors.MaskedAutoregressive(
        (3,), width=6, hidden_layers=1, context_channels=2, dtype=dtype
    ),
    "glow": lambda dtype: bijectors.Glow((4, 4, 2), levels=2, depth=2, width=6, dtype=dtype),
    "glow_learned_prior": lambda dtype: bijectors.Glow(
        (4, 4, 2), levels=2, depth=1, width=6, learned_prior=True, dtype=dtype
    ),
    "glow_checkerboard_gated": lambda dtype: bijectors.Glow(
        (4, 4, 1),
        levels=1,
        depth=1,
        width=4,
        network="gated",
        blocks=1,
        checkerboard=2,
        dtype=dtype,
    ),
    "glow_one_level": lambda dtype: bijectors.Glow(
        (4, 4, 1), levels=1, depth=3, width=6, dtype=dtype
    ),
}
EVERY = pytest.mark.parametrize("case", CASES)


def test_every_exported_bijector_is_among_the_cases():
    exported = {getattr(bijectors, name) for name in bijectors.__all__}
    exported -= {bijectors.Flow, bijectors.FlowLayer}
    assert all(issubclass(cls, FlowBijector) for cls in exported)
    assert {type(make("float32")) for make in CASES.values()} == exported


@EVERY
def test_configurations_describe_the_bijector(case):
    bijector = CASES[case]("float64")
    config = serialization.serialize(bijector)
    again = serialization.deserialize(json.loads(json.dumps(config)))
    assert type(again) is type(bijector)
    assert serialization.serialize(again) == config
    assert [(v.path, v.shape, v.dtype) for v in weights_of(again.layers)] == [
        (v.path, v.shape, v.dtype) for v in weights_of(bijector.layers)
    ]


def trained(case, dtype="float64", seed=0):
    """A bijector with random weights: with the initial ones many are the identity."""
    bijector = CASES[case](dtype)
    generator = np.random.default_rng(seed)
    for variable in bijector.trainable_variables:
        noise = generator.normal(size=variable.shape, scale=0.05)
        variable.assign_add(tf.cast(noise, variable.dtype))
    return bijector


def batch(shape, count=3, dtype="float64", seed=1):
    return tf.constant(np.random.default_rng(seed).normal(size=(count, *shape)), dtype)


def context_of(bijector, *batch_shape):
    """The keyword arguments that a conditional bijector needs; none for the others."""
    if not bijector.context_shape:
        return {}
    shape = (*batch_shape, *bijector.context_shape)
    return {"context": tf.random.stateless_normal(shape, [2, 0], dtype=bijector.dtype)}


@EVERY
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
def test_round_trips(case, dtype, tolerance):
    bijector = trained(case, dtype)
    x, z = batch(bijector.data_shape, dtype=dtype), batch(bijector.latent_shape, dtype=dtype)
    context = context_of(bijector, 3)
    latents, data = bijector.inverse(x, **context), bijector.forward(z, **context)
    found_x, _ = bijector.forward_and_log_det(latents, **context)
    found_z, _ = bijector.inverse_and_log_det(data, **context)
    np.testing.assert_allclose(found_x, x, 0, tolerance)
    np.testing.assert_allclose(found_z, z, 0, tolerance)


@EVERY
def test_log_determinants_equal_the_autodiff_jacobian(case):
    bijector = trained(case)
    for function, shape in (
        (bijector.inverse_and_log_det, bijector.data_shape),
        (bijector.forward_and_log_det, bijector.latent_shape),
    ):
        value = batch(shape)
        with tf.GradientTape() as tape:
            tape.watch(value)
            out, log_det = function(value, **context_of(bijector, 3))
            flat = tf.reshape(out, [len(value), -1])
        size = flat.shape[1]
        jacobian = tf.reshape(tape.batch_jacobian(flat, value), [-1, size, size])
        np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=0, atol=1e-8)
        assert log_det.shape == (len(value),)


@EVERY
def test_tfps_methods_agree_with_the_single_pass(case):
    bijector = trained(case)
    z, context = batch(bijector.latent_shape), context_of(bijector, 3)
    x, log_det = bijector.forward_and_log_det(z, **context)
    np.testing.assert_allclose(bijector.forward(z, **context), x, 0, 1e-12)
    forward_log_det = bijector.forward_log_det_jacobian(z, **context)
    inverse_log_det = bijector.inverse_log_det_jacobian(x, **context)
    np.testing.assert_allclose(np.broadcast_to(forward_log_det, [3]), log_det, 0, 1e-10)
    np.testing.assert_allclose(np.broadcast_to(inverse_log_det, [3]), -log_det, 0, 1e-10)
    assert bijector.forward_event_shape(bijector.latent_shape) == bijector.data_shape
    assert bijector.inverse_event_shape(bijector.data_shape) == bijector.latent_shape
    assert tuple(bijector.forward_event_shape_tensor(bijector.latent_shape)) == bijector.data_shape
    assert tuple(bijector.inverse_event_shape_tensor(bijector.data_shape)) == bijector.latent_shape


@EVERY
def test_keras_and_tfp_see_the_same_weights_and_all_get_gradients(case):
    bijector = trained(case)
    of_keras = {id(w.value) for layer in bijector.layers for w in layer.trainable_weights}
    assert of_keras == {id(v) for v in bijector.trainable_variables}
    with tf.GradientTape() as tape:
        x = batch(bijector.data_shape)
        z, log_det = bijector.inverse_and_log_det(x, **context_of(bijector, 3))
        loss = tf.reduce_sum(z**2) - tf.reduce_sum(log_det)
    for variable, gradient in zip(
        bijector.trainable_variables, tape.gradient(loss, bijector.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.name
        assert np.isfinite(gradient).all(), variable.name
        assert np.any(gradient), variable.name


@EVERY
@pytest.mark.parametrize("batch_shape", [(), (0,), (5,), (2, 3)])
def test_any_batch_shape(case, batch_shape):
    bijector = trained(case)
    z = tf.random.stateless_normal([*batch_shape, *bijector.latent_shape], [0, 0], dtype="float64")
    context = context_of(bijector, *batch_shape)
    x, log_det = bijector.forward_and_log_det(z, **context)
    assert x.shape == (*batch_shape, *bijector.data_shape)
    assert log_det.shape == batch_shape
    assert bijector.inverse(x, **context).shape == z.shape


@EVERY
def test_works_in_a_graph_with_a_free_batch_inside_chain_invert_and_a_distribution(case):
    bijector = trained(case)
    # Another with the same weights: the cache would return z without computing anything.
    twice = tfb.Chain([tfb.Invert(trained(case)), bijector])
    base = tfd.Sample(tfd.Normal(tf.zeros([], "float64"), 1.0), bijector.latent_shape)
    distribution = tfd.TransformedDistribution(base, bijector)
    z, context = batch(bijector.latent_shape), context_of(bijector, 3)
    shapes = {"z": bijector.latent_shape, **dict.fromkeys(context, bijector.context_shape)}
    signature = {name: tf.TensorSpec([None, *s], "float64") for name, s in shapes.items()}

    @tf.function
    def graph(z, **context):
        x = bijector.forward(z, **context)
        same = twice.forward(z, **{part.name: context for part in twice.bijectors if context})
        log_prob = distribution.log_prob(x, bijector_kwargs=context)
        return same, log_prob, bijector.inverse_and_log_det(x, **context)[1]

    same, log_prob, log_det = graph.get_concrete_function(**signature)(z=z, **context)
    np.testing.assert_allclose(same, z, 0, 1e-9)
    np.testing.assert_allclose(log_prob, base.log_prob(z) + log_det, 0, 1e-9)


@EVERY
def test_checkpoints_restore_the_weights(case, tmp_path):
    bijector, other = trained(case, seed=0), trained(case, seed=5)
    tf.train.Checkpoint(bijector).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(other).read(str(tmp_path / "checkpoint")).expect_partial()
    x, context = batch(bijector.data_shape), context_of(bijector, 3)
    np.testing.assert_array_equal(other.inverse(x, **context), bijector.inverse(x, **context))


@EVERY
def test_config_and_weights_build_the_same_bijector(case, tmp_path):
    bijector = trained(case)
    config = json.loads(json.dumps(dict(bijector.parameters)))
    other = type(bijector)(**config)
    x, context = batch(bijector.data_shape), context_of(bijector, 3)
    ours, theirs = (_Holder(bijectors.FlowLayer(b)) for b in (bijector, other))
    ours(x, **context), theirs(x, **context)
    ours.save_weights(str(tmp_path / "flow.weights.h5"))
    theirs.load_weights(str(tmp_path / "flow.weights.h5"))
    for found, expected in zip(theirs(x, **context), ours(x, **context), strict=True):
        np.testing.assert_array_equal(found, expected)


class _Holder(keras.Model):
    def __init__(self, flow):
        super().__init__(dtype="float64")
        self.flow = flow

    def call(self, x, context=None):
        return self.flow(x, context=context)


@EVERY
def test_two_replicas_compute_what_one_device_does(case):
    strategy = choose("mirrored", "cpu:2")
    with strategy.scope():
        bijector = trained(case)
    x, context = batch(bijector.data_shape, count=4), context_of(bijector, 4)

    @tf.function
    def replicas():
        def replica():
            # In replica order: the first half of the batch and the second.
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            half = slice(2 * number, 2 * number + 2)
            own = {name: value[half] for name, value in context.items()}
            with tf.GradientTape() as tape:
                z, log_det = bijector.inverse_and_log_det(x[half], **own)
                loss = tf.reduce_sum(z**2) - tf.reduce_sum(log_det)
            gradients = tape.gradient(loss, bijector.trainable_variables)
            return bijector.forward_and_log_det(z, **own)[0], z, gradients

        return strategy.run(replica)

    found, z, gradients = replicas()
    np.testing.assert_allclose(tf.concat(found.values, 0), x, atol=1e-9)
    one = trained(case)
    for weight, value in zip(weights_of(one.layers), weights_of(bijector.layers), strict=True):
        weight.assign(value.value.values[0])
    with tf.GradientTape() as tape:
        expected, log_det = one.inverse_and_log_det(x, **context)
        loss = tf.reduce_sum(expected**2) - tf.reduce_sum(log_det)
    np.testing.assert_allclose(tf.concat(z.values, 0), expected, atol=1e-9)
    for parts, gradient in zip(
        gradients, tape.gradient(loss, one.trainable_variables), strict=True
    ):
        np.testing.assert_allclose(tf.add_n(parts.values), gradient, rtol=1e-6, atol=1e-9)


@EVERY
def test_wrong_shapes_and_dtypes_are_refused(case):
    bijector = trained(case)
    with pytest.raises(InputError, match="expected shape"):
        bijector.inverse_and_log_det(tf.zeros([2, 3, 3, 4], "float64"))
    with pytest.raises(InputError, match="expected float64, got float32"):
        bijector.inverse_and_log_det(tf.zeros([2, *bijector.data_shape], "float32"))
    x = tf.zeros([2, *bijector.data_shape], "float64")
    context, message = {"context": x}, "takes no context"
    if bijector.context_shape:
        context, message = {}, "needs a context of shape"
    with pytest.raises(InputError, match=message):
        bijector.inverse_and_log_det(x, **context)
