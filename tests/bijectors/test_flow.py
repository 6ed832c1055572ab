"""Flows as Keras models: density, training, files, conditioning, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfgen import bijectors
from tfgen.bijectors import ActNorm, Flow, GlowStep, MaskedAutoregressive, Squeeze
from tfgen.bijectors.composition import inverse_and_log_det
from tfgen.errors import InputError
from tfgen.training.strategy import choose


def points(count=96, dimension=2, seed=0):
    return np.random.default_rng(seed).normal(3.0, 2.0, (count, dimension))


def step(dimension=2, **options):
    return GlowStep((dimension,), width=4, **options)


def mixture():
    """A mixture of two Gaussians, all of whose parameters are trained."""
    scale = tfp.util.TransformedVariable([[1.0, 2.0], [0.5, 1.0]], tfb.Softplus())
    parts = tfd.MultivariateNormalDiag(tf.Variable([[0.0, 1.0], [2.0, 3.0]]), scale)
    return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.Variable([0.0, 1.0])), parts)


def shaken(flow):
    for number, weight in enumerate(flow.trainable_weights):
        weight.assign_add(0.1 * tf.random.stateless_normal(weight.shape, [3, number]))
    return flow


def test_the_order_is_that_of_tfb_chain_and_the_density_that_of_tfp():
    parts = [step(3, name="first"), tfb.Shift([1.0, 2.0, 3.0]), tfb.Invert(step(3, name="third"))]
    base = tfd.MultivariateNormalDiag([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    flow = shaken(Flow([parts[0], tfb.Chain(parts[1:])], base=base))
    expected = tfd.TransformedDistribution(base, tfb.Chain(parts))
    x = points(dimension=3).astype("float32")
    np.testing.assert_allclose(flow.log_prob(x), expected.log_prob(x), rtol=1e-5)
    z = flow.encode(x)
    np.testing.assert_allclose(z, tfb.Chain(parts).inverse(x), atol=1e-5)
    np.testing.assert_allclose(flow.decode(z), x, atol=1e-4)
    np.testing.assert_allclose(
        flow.bits_per_dim(x), -flow.log_prob(x) / (3 * np.log(2.0)), rtol=1e-6
    )
    draws = flow.sample(2000, seed=-5)
    np.testing.assert_array_equal(draws, flow.sample(2000, seed=-5))
    moments = np.mean(flow.encode(draws), 0), np.std(flow.encode(draws), 0)
    np.testing.assert_allclose(moments, [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], atol=0.3)


def test_large_batches_in_parts_and_a_graph_give_the_same_values(monkeypatch):
    flow = shaken(Flow([step()]))
    x = tf.constant(points(10), tf.float32)
    whole = flow.log_prob(x)
    monkeypatch.setattr("tfgen.bijectors.flow.VALUES_PER_CHUNK", 6)
    np.testing.assert_allclose(flow.log_prob(x), whole, rtol=1e-6)
    np.testing.assert_allclose(tf.function(flow.log_prob)(x), whole, rtol=1e-6)
    assert flow.log_prob(x[:0]).shape == (0,)


def test_temperature_scales_standard_normal_latents():
    flow = shaken(Flow([step()]))
    z = flow.encode(flow.sample(4, seed=1))
    np.testing.assert_allclose(
        flow.encode(flow.sample(4, seed=1, temperature=0.5)), 0.5 * z, atol=1e-5
    )
    with pytest.raises(InputError, match="a temperature scales standard normal latents"):
        Flow([step()], base=mixture()).sample(2, temperature=0.5)


def test_training_takes_the_steps_of_plain_tensorflow():
    x = points(64).astype("float32")
    ours, theirs = (Flow([step(name="a"), step(name="b")], base=mixture()) for _ in range(2))
    theirs.set_weights(ours.get_weights())
    ours.compile(keras.optimizers.SGD(0.05))
    history = ours.fit(x, batch_size=64, epochs=3, shuffle=False, verbose=0).history
    np.testing.assert_allclose(theirs.initialize(x), theirs.encode(x), atol=1e-5)
    chain = tfb.Chain(theirs.bijectors)
    distribution = tfd.TransformedDistribution(theirs.base.distribution, chain)
    variables = distribution.trainable_variables
    for epoch in range(3):
        with tf.GradientTape() as tape:
            nll = -tf.reduce_mean(distribution.log_prob(x + 0.0))
        np.testing.assert_allclose(history["nll"][epoch], nll, rtol=1e-4)
        np.testing.assert_allclose(history["loss"][epoch], nll, rtol=1e-4)
        np.testing.assert_allclose(
            history["bits_per_dim"][epoch], nll / (2 * np.log(2.0)), rtol=1e-4
        )
        for variable, gradient in zip(variables, tape.gradient(nll, variables), strict=True):
            variable.assign_sub(0.05 * gradient)
    for found, expected in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)
    assert len(ours.trainable_weights) == len(variables)


def test_losses_of_layers_are_part_of_the_loss():
    network = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(3.0))]
    )
    flow = Flow([bijectors.AffineCoupling((2,), network=network)])
    flow.compile(keras.optimizers.SGD(0.0))
    found = flow.fit(points(32), verbose=0).history
    penalty = 3.0 * np.sum(network.layers[0].kernel.numpy() ** 2)
    np.testing.assert_allclose(found["loss"][0] - found["nll"][0], penalty, rtol=1e-3)
    assert flow.evaluate(points(32), return_dict=True, verbose=0).keys() == found.keys()


def test_fit_compiles_and_initializes_and_callbacks_know_the_direction(tmp_path):
    flow = Flow([step(name="a"), step(name="b")])
    assert not flow.initialized
    callbacks = [
        keras.callbacks.EarlyStopping("val_bits_per_dim"),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "best.weights.h5"), monitor="val_nll"),
    ]
    x = points(2000)
    history = flow.fit(x, validation_split=0.1, callbacks=callbacks, verbose=0).history
    assert flow.initialized
    assert sorted(history) == sorted(
        [*("loss", "nll", "bits_per_dim"), *("val_loss", "val_nll", "val_bits_per_dim")]
    )
    # A Gaussian of standard deviation 2 has 2.12 nats per value.
    assert 2 * 2.0 < history["val_nll"][0] < 2 * 2.3
    np.testing.assert_allclose(flow.predict(x, verbose=0), flow.log_prob(x), rtol=1e-4)


@pytest.mark.parametrize("with_base", [False, True])
def test_files_of_flows(with_base, tmp_path):
    flow = shaken(
        Flow(
            [tfb.Chain([step(3), tfb.Invert(ActNorm((3,)))]), MaskedAutoregressive((3,), width=4)],
            base=tfd.Independent(tfd.Logistic(tf.Variable([0.0] * 3), 2.0), 1)
            if with_base
            else None,
        )
    )
    if with_base:
        flow.flow_layers[0].trainable = False
        flow.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    flow.save(tmp_path / "flow.keras")
    loaded = keras.saving.load_model(tmp_path / "flow.keras")
    x = points(5, 3)
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    np.testing.assert_array_equal(loaded.sample(3, seed=1), flow.sample(3, seed=1))
    assert loaded.compiled == with_base
    assert len(loaded.trainable_weights) == len(flow.trainable_weights)
    for weight in loaded.weights:
        weight.assign(tf.zeros_like(weight))
    flow.save_weights(tmp_path / "flow.weights.h5")
    loaded.load_weights(tmp_path / "flow.weights.h5")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    printed = []
    flow.summary(print_fn=printed.append)
    assert printed[0].count("(None, 3)") == 3
    assert "?" not in printed[0]


def test_a_mixture_is_saved_and_what_cannot_be_is_refused(tmp_path):
    flow = shaken(Flow([step()], base=mixture()))
    again = Flow.from_config(flow.get_config())
    again.set_weights(flow.get_weights())
    np.testing.assert_array_equal(again.log_prob(points(4)), flow.log_prob(points(4)))
    with pytest.raises(InputError, match="base is a Own, which cannot be saved"):
        Flow([step()], base=Own(tf.zeros(2))).save(tmp_path / "flow.keras")
    config = flow.get_config()
    config["base"]["name"] = "tfd.os"
    with pytest.raises(InputError, match=r"names tfd\.os, which is unknown"):
        Flow.from_config(config)


class Own(tfd.MultivariateNormalDiag):
    pass


def test_conditional_flows_of_images_give_their_context_to_every_bijector():
    parts = [
        GlowStep((4, 4, 3), width=4, context_channels=2),
        Squeeze((4, 4, 3)),
        GlowStep((2, 2, 12), width=4, context_channels=2, name="half"),
    ]
    flow = Flow(parts, context=2)
    generator = np.random.default_rng(0)
    x, h = (generator.normal(size=s).astype("float32") for s in ((20, 4, 4, 3), (20, 2)))
    np.testing.assert_allclose(flow.initialize(x, h), flow.encode(x, h), atol=1e-4)
    np.testing.assert_allclose(np.std(flow.encode(x, h), 0).mean(), 1.0, atol=0.1)
    flow.fit(x, h, batch_size=10, validation_data=(x, h), verbose=0)
    shaken(flow)
    total, z = 0.0, x
    for part in parts:
        pixels = part.data_shape[:2]
        own = np.broadcast_to(h[:, None, None], (20, *pixels, 2)) if part.context_shape else None
        z, log_det = part.inverse_and_log_det(z, own)
        total += log_det
    expected = total + tf.reduce_sum(tfd.Normal(0.0, 1.0).log_prob(z), [1, 2, 3])
    np.testing.assert_allclose(flow.log_prob(x, h), expected, rtol=1e-5)
    np.testing.assert_allclose(flow.decode(flow.encode(x, h), h), x, atol=1e-4)
    one = flow.sample(3, h[0], seed=0)
    np.testing.assert_array_equal(one, flow.sample(3, np.stack([h[0]] * 3), seed=0))
    assert np.all(one != flow.sample(3, h[1], seed=0))
    pairs = tf.data.Dataset.from_tensor_slices((x, h)).batch(20)
    np.testing.assert_allclose(
        flow.evaluate(pairs, return_dict=True, verbose=0)["nll"],
        -np.mean(flow.log_prob(x, h)),
        rtol=1e-4,
    )
    np.testing.assert_allclose(flow.predict(pairs, verbose=0), flow.log_prob(x, h), rtol=1e-4)
    for arguments, message in (
        ((x,), r"is conditional: give the context, of shape \[N, 2\]"),
        ((x, h[:, :1]), r"context must have shape \[N, 2\], got \(20, 1\)"),
        ((x, h[:3]), "20 data, but 3 contexts"),
        ((x, np.zeros(20, int)), "context must be floating point, got int64"),
    ):
        for method in (flow.log_prob, flow.encode, flow.fit, flow.initialize):
            with pytest.raises(InputError, match=message):
                method(*arguments)


def test_float64_and_any_floating_input():
    flow = shaken(Flow([step(dtype="float64"), tfb.Shift(tf.constant([1.0, 2.0], "float64"))]))
    x = points(8)
    assert flow.log_prob(x).dtype == flow.sample(2, seed=0).dtype == "float64"
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=1e-12)
    flow.fit(tf.data.Dataset.from_tensor_slices(x).batch(8), verbose=0)


def test_two_replicas_train_as_one_device():
    x = points(32).astype("float32")
    flows = []
    weights = Flow([step()], base=mixture()).get_weights()
    for strategy in (choose("mirrored", "cpu:2"), tf.distribute.get_strategy()):
        with strategy.scope():
            flow = Flow([step()], base=mixture())
            flow.set_weights(weights)
            flow.compile(keras.optimizers.SGD(0.05))
        flow.fit(x, batch_size=16, shuffle=False, verbose=0)
        flows.append(flow)
    for found, expected in zip(flows[0].get_weights(), flows[1].get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_flow_layers_of_chains_follow_each_other_in_a_sequential():
    chain = tfb.Chain([step(), tfb.Scale(tf.Variable(2.0))])
    layers = [bijectors.FlowLayer(chain), bijectors.FlowLayer(step(name="second"))]
    model = keras.Sequential([keras.Input((2,)), *layers])
    assert len(model.trainable_weights) == len(chain.trainable_variables) + len(
        layers[1].bijector.trainable_variables
    )
    x = tf.constant(points(50), tf.float32)
    values = x
    for layer in layers:
        values = layer.initialize(values)
    shaken(model)
    z, log_det = model(x)
    middle, first = inverse_and_log_det(chain, x)
    expected, second = layers[1].bijector.inverse_and_log_det(middle)
    np.testing.assert_allclose(z, expected, rtol=1e-5)
    np.testing.assert_allclose(log_det, first + second, rtol=1e-4)
    np.testing.assert_allclose(first, chain.inverse_log_det_jacobian(x, 1), rtol=1e-4, atol=1e-5)
    assert model.output_shape == [(None, 2), (None,)]
    with pytest.raises(InputError, match="FlowLayer takes a bijector, got a int"):
        bijectors.FlowLayer(3)


SHARED = GlowStep((2,), width=4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Flow([]), "a list of at least one bijector, got"),
        (lambda: Flow([3]), r"bijectors\[0\] must be a bijector of .* got a int"),
        (lambda: Flow([SHARED, tfb.Invert(SHARED)]), "occurs twice, at positions 0 and 1"),
        (lambda: Flow([step(), step(3)]), r"at position 1 takes data of shape \(3,\), but"),
        (lambda: Flow([tfb.Exp()]), "none of the bijectors has a shape of its own; give base="),
        (lambda: Flow([tfb.Exp()], base=tfd.Normal(0.0, 1.0)), "vectors or images, not single"),
        (lambda: Flow([step(), step(dtype="float64")]), "must have the same dtype, got"),
        (lambda: Flow([step()], base="normal"), "must be a distribution of tensorflow_prob"),
        (lambda: Flow([step()], base=tfd.Normal([0.0, 1.0], 1.0)), "with tfd.Independent"),
        (lambda: Flow([step()], base=tfd.MultivariateNormalDiag([0.0])), r"have shape \(1,\)"),
        (
            lambda: Flow([step()], base=tfd.MultivariateNormalDiag(tf.zeros(2, "float64"))),
            "the bijectors compute in float32, but MultivariateNormalDiag in float64",
        ),
        (lambda: Flow([step()], context=3), "but no bijector takes a context"),
        (lambda: Flow([step(context_channels=2)]), r"give context=\(2,\)"),
        (lambda: Flow([step(context_channels=2)], context=3), r"which \(3,\) cannot become"),
        (lambda: Flow([step(context_channels=2)], context="a"), "context must be a list of"),
    ],
)
def test_chains_that_do_not_fit_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_bad_data_and_arguments_are_refused():
    flow, x = Flow([step()]), points(8)
    calls = {
        r"data must have shape \[N, 2\], got \(8, 1\)": lambda: flow.log_prob(x[:, :1]),
        "data must be finite": lambda: flow.log_prob(x * np.nan),
        "floating point, got int64": lambda: flow.log_prob(x.astype(int)),
        "must be an array of numbers": lambda: flow.log_prob([[1.0], "a"]),
        "takes no context, but one was given": lambda: flow.fit(x, x),
        "must be finite": lambda: flow.fit(x * np.inf),
        "some are infinite or NaN": lambda: flow.fit(x, validation_data=x * np.nan),
        "sample weights are not supported": lambda: flow.fit(x, sample_weight=x[:, 0]),
        "class_weight is not supported": lambda: flow.fit(x, class_weight={0: 1.0}),
        "x must be data, got None": lambda: flow.fit(),
        "data that can be read again, got a list_iterator": lambda: flow.fit(iter([x])),
        "compile takes no loss": lambda: flow.compile(loss="mse", metrics=["mse"]),
        "n must be a positive integer": lambda: flow.sample(0),
        "temperature must be a number >= 0": lambda: flow.sample(2, temperature=-1.0),
        r"initialize needs data, got shape \(0, 2\)": lambda: flow.initialize(x[:0]),
        r"latents must have shape \[N, 2\]": lambda: flow.decode(x[:, :1]),
    }
    for message, call in calls.items():
        with pytest.raises(InputError, match=message):
            call()
    assert not flow.initialized
