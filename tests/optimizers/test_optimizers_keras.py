"""Every feature of Keras optimizers, on `Adam` and `AdaMax`."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from optimizer_cases import EVERY_OPTIMIZER

from tfgen.errors import InputError
from tfgen.optimizers import Adam, AdaMax, InverseSqrt

RNG = np.random.default_rng(2)
X = RNG.normal(size=(48, 5)).astype("float32")
Y = RNG.normal(size=(48, 1)).astype("float32")


def model(optimizer, dtype=None, **how):
    keras.utils.set_random_seed(5)
    net = keras.Sequential(
        [
            keras.Input([5]),
            keras.layers.Dense(7, activation="tanh", dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )
    net.compile(optimizer, "mse", **{"jit_compile": False, **how})
    return net


def fit(net, epochs=4):
    net.fit(X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return [w.numpy() for w in net.trainable_variables]


def assert_equal(actual, expected, rtol=1e-5, atol=1e-6):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "arguments",
    [
        {"weight_decay": 0.1},
        {"clipnorm": 0.05},
        {"clipvalue": 0.01},
        {"global_clipnorm": 0.05},
        {"use_ema": True, "ema_momentum": 0.9},
        {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
        {"use_ema": True, "ema_momentum": 0.0},
        {"loss_scale_factor": 1024.0},
        {"gradient_accumulation_steps": 3},
        {"gradient_accumulation_steps": 2, "global_clipnorm": 0.05, "weight_decay": 0.1},
        {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.02, 3, 0.5)},
        {"learning_rate": lambda: 0.02},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_what_keras_adds_works_as_in_keras(arguments):
    """`keras.optimizers.Adam` computes the efficient order; all else must agree with it."""
    arguments = {"learning_rate": 0.02, "epsilon": 1e-7, **arguments}
    start = [RNG.normal(size=shape) for shape in [(5, 7), (7,), (130, 130)]]

    def trained(optimizer):
        variables = [keras.Variable(value) for value in start]
        for step in range(12):
            optimizer.apply([tf.sin(v + step) for v in variables], variables)
        optimizer.finalize_variable_values(variables)
        return [v.numpy() for v in variables]

    # Keras' bias correction in float32 is off by some 1e-5 of a step.
    ours = trained(Adam(epsilon_hat=True, **arguments))
    assert_equal(ours, trained(keras.optimizers.Adam(**arguments)), rtol=1e-4, atol=1e-5)


@EVERY_OPTIMIZER
@pytest.mark.parametrize("how", [{"jit_compile": True}, {"run_eagerly": True}], ids=str)
def test_compiled_eager_and_graph_agree(make, how):
    expected = fit(model(make(0.01, weight_decay=0.01)))
    assert_equal(fit(model(make(0.01, weight_decay=0.01), **how)), expected)


@EVERY_OPTIMIZER
def test_weight_decay_excludes_variables_by_name(make):
    optimizer = make(0.5, weight_decay=0.5)
    net = model(optimizer)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    for variable in net.trainable_variables:
        variable.assign(tf.ones_like(variable))
    zeros = [tf.zeros_like(v) for v in net.trainable_variables]
    optimizer.apply(zeros, net.trainable_variables)
    for variable in net.trainable_variables:
        np.testing.assert_allclose(variable.numpy(), 1.0 if variable.name == "bias" else 0.75)


@EVERY_OPTIMIZER
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_weights_have_float32_state(make, dtype):
    weights = keras.Variable(np.ones(4), dtype=dtype)
    optimizer = make(0.01, temporal_averaging=True, use_ema=True, gradient_accumulation_steps=2)
    optimizer.build([weights])
    assert {v.dtype for v in optimizer.variables[2:]} == {"float32"}
    gradient = tf.constant([1.0, -1.0, 0.001, 0.0], dtype)
    for _ in range(2):
        optimizer.apply([gradient], [weights])
    expected = tf.cast(tf.constant([0.99, 1.01, 0.99, 1.0]), dtype)
    np.testing.assert_array_equal(weights.numpy(), expected.numpy())
    with np.errstate(all="raise"):
        velocity = optimizer.slot(weights, optimizer.slot_names[1]).numpy()
    assert velocity[2] > 0  # the square of 0.001 / 1000 is below float16
    optimizer.finalize_variable_values([weights])  # the average of one step is where it led
    np.testing.assert_array_equal(weights.numpy(), expected.numpy())


@pytest.mark.parametrize(
    ("make", "policy"), [(Adam, "mixed_float16"), (AdaMax, "mixed_bfloat16")], ids=str
)
def test_mixed_precision(make, policy):
    optimizer = make(0.01)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    net = model(optimizer, dtype=policy)
    before = net.evaluate(X, Y, verbose=0)
    weights = fit(net, epochs=8)
    assert all(w.dtype == np.float32 and np.isfinite(w).all() for w in weights)
    assert net.evaluate(X, Y, verbose=0) < before
    assert_equal(weights, fit(model(make(0.01)), epochs=8), rtol=0.05, atol=0.02)


def test_constraints_hold_after_each_step():
    weights = keras.Variable([[0.01, 1.0]])
    weights.constraint = keras.constraints.NonNeg()
    optimizer = Adam(0.1, temporal_averaging=True)
    optimizer.apply([tf.constant([[1.0, 1.0]])], [weights])
    np.testing.assert_allclose(weights.numpy(), [[0.0, 0.9]])
    average = optimizer.slot(weights, "temporal_average").numpy()
    np.testing.assert_allclose(average, [[0.0, 0.0009]], rtol=1e-4)


def test_a_reference_to_tf_variables_is_enough():
    weights = tf.Variable([1.0, 2.0])
    Adam(0.1).apply_gradients([(tf.constant([1.0, -1.0]), weights)])
    np.testing.assert_allclose(weights.numpy(), [0.9, 2.1])


@EVERY_OPTIMIZER
def test_the_learning_rate_can_be_set(make):
    optimizer = make()
    net = model(optimizer)
    optimizer.learning_rate = 0.0
    before = [w.numpy() for w in net.trainable_variables]
    assert_equal(fit(net, epochs=1), before, rtol=0, atol=0)
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25
    optimizer.learning_rate = InverseSqrt(0.5)
    weights = net.trainable_variables
    optimizer.apply([tf.ones_like(w) for w in weights], weights)
    assert not np.array_equal(weights[0].numpy(), before[0])


@pytest.mark.parametrize(
    "optimizer",
    [
        Adam(0.1, 0.8, 0.99, 1e-3, epsilon_hat=True, beta_1_decay=0.9, amsgrad=True, lazy=True),
        Adam(InverseSqrt(0.3), temporal_averaging=True, weight_decay=0.1, clipnorm=2.0),
        AdaMax(0.1, 0.8, 0.99, 1e-3, beta_1_decay=0.9, temporal_averaging=True, use_ema=True),
        AdaMax(InverseSqrt(0.3), lazy=True, gradient_accumulation_steps=None, name="mine"),
    ],
    ids=["adam", "adam, averaged", "adamax", "adamax, lazy"],
)
def test_config_round_trip(optimizer):
    config = optimizer.get_config()
    again = type(optimizer).from_config(dict(config))
    assert again.get_config() == config
    text = keras.saving.serialize_keras_object(optimizer)
    assert text["registered_name"] == f"tfgen>{type(optimizer).__name__}"
    assert keras.saving.deserialize_keras_object(text).get_config() == config


@EVERY_OPTIMIZER
@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("learning_rate", -0.1, ">= 0"),
        ("learning_rate", float("nan"), ">= 0"),
        ("learning_rate", "fast", ">= 0"),
        ("beta_1", 1.0, r"\[0, 1\)"),
        ("beta_1", -0.1, r"\[0, 1\)"),
        ("beta_2", 1.5, r"\[0, 1\)"),
        ("epsilon", -1e-8, ">= 0"),
        ("epsilon", None, ">= 0"),
        ("beta_1_decay", 0.0, r"\(0, 1\]"),
        ("beta_1_decay", 1.1, r"\(0, 1\]"),
        ("weight_decay", -1.0, ">= 0"),
        ("clipnorm", 0.0, "> 0"),
        ("gradient_accumulation_steps", 1, "integer of at least 2"),
        ("gradient_accumulation_steps", 2.5, "integer of at least 2"),
    ],
)
def test_bad_values_name_argument_value_and_range(make, argument, value, allowed):
    with pytest.raises(InputError, match=f"^{argument} must be .*{allowed}, got {value!r}$"):
        make(**{argument: value})


def test_lazy_with_accumulation_is_refused():
    with pytest.raises(InputError, match="lazy=True and gradient_accumulation_steps=2"):
        Adam(lazy=True, gradient_accumulation_steps=2)


def test_betas_outside_the_convergence_proof_warn():
    with pytest.warns(UserWarning, match=r"beta_1\*\*2 < sqrt\(beta_2\)"):
        Adam(beta_1=0.9, beta_2=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Adam()
        AdaMax()
        Adam(beta_1=0.0, beta_2=0.0)
