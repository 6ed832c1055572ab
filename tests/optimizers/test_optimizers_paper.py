"""The trajectories of Adam and AdaMax against the paper's algorithms in float64."""

import adam_reference as paper
import keras
import numpy as np
import pytest
import tensorflow as tf
from optimizer_cases import OPTIMIZERS

from tfgen.optimizers import Adam, AdaMax, InverseSqrt

STEPS = 1000
RNG = np.random.default_rng(0)
THETA = RNG.normal(size=(6, 5))
# Gradients of very different sizes, so that ε matters for some of the weights and not for others.
SCALES = 10.0 ** RNG.uniform(-9, 1, size=THETA.shape)
GRADIENTS = (RNG.normal(size=(STEPS, *THETA.shape)) + 0.3) * SCALES

ADAM = {
    "defaults": {},
    "efficient order": {"epsilon_hat": True},
    "betas": {"beta_1": 0.5, "beta_2": 0.99, "epsilon": 1e-4},
    "no momentum": {"beta_1": 0.0, "beta_2": 0.9},
    "beta_1 decay": {"beta_1_decay": 0.99},
    "amsgrad": {"amsgrad": True},
    "weight decay": {"weight_decay": 0.1},
    "long memory": {"beta_2": 0.999999},
}
ADAMAX = {"defaults": {}, "betas": {"beta_1": 0.5, "beta_2": 0.99}, "decay": {"beta_1_decay": 0.99}}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def check(optimizer, reference, dtype, **how):
    theta = THETA.astype(dtype).astype(np.float64)
    gradients = GRADIENTS.astype(dtype).astype(np.float64)
    expected = reference(theta, gradients)
    path = paper.run(optimizer, theta, gradients, dtype, **how)
    assert paper.relative_error(path, expected) < TOLERANCE[dtype]
    # The distance from the start as well, as it is much smaller than the weights.
    assert paper.relative_error(path - theta, expected - theta) < 100 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", ADAM)
def test_adam_is_algorithm_1(case, dtype):
    arguments = ADAM[case]
    check(Adam(**arguments), lambda *a: paper.adam(*a, **arguments), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", ADAMAX)
def test_adamax_is_algorithm_2(case, dtype):
    arguments = ADAMAX[case]
    check(AdaMax(**arguments), lambda *a: paper.adamax(*a, **arguments), dtype)


@pytest.mark.parametrize("how", [{"jit_compile": True}, {"graph": False}], ids=["xla", "eager"])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_is_the_same_however_it_runs(how, amsgrad):
    reference = lambda *a: paper.adam(*a, amsgrad=amsgrad)  # noqa: E731
    check(Adam(amsgrad=amsgrad), reference, "float32", **how)


@pytest.mark.parametrize("how", [{"jit_compile": True}, {"graph": False}], ids=["xla", "eager"])
def test_adamax_is_the_same_however_it_runs(how):
    check(AdaMax(), paper.adamax, "float32", **how)


@pytest.mark.parametrize(
    ("optimizer", "reference"), [(Adam, paper.adam), (AdaMax, paper.adamax)], ids=["adam", "adamax"]
)
def test_inverse_sqrt_is_the_rate_of_the_theorem(optimizer, reference):
    expected = lambda *a: reference(*a, rate=lambda t: 0.01 / np.sqrt(t), beta_1_decay=0.999)  # noqa: E731
    check(optimizer(InverseSqrt(0.01), beta_1_decay=0.999), expected, "float64")


@pytest.mark.parametrize(
    ("optimizer", "reference"), [(Adam, paper.adam), (AdaMax, paper.adamax)], ids=["adam", "adamax"]
)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_packed_variables_take_the_same_steps(optimizer, reference, dtype):
    """Three small variables share their slots; one of them has a gradient at every other step."""
    variables = [keras.Variable(THETA + k, dtype=dtype) for k in range(3)]
    optimizer = optimizer()
    optimizer.build(variables)
    assert len(optimizer.packs) == 1

    @tf.function
    def step(gradients, count):
        optimizer.apply(gradients[:count], variables[:count])

    gradients = GRADIENTS[:300].astype(dtype).astype(np.float64)
    starts = [v.numpy().astype(np.float64) for v in variables]
    for t, gradient in enumerate(gradients):
        step([tf.constant((k + 1) * gradient, dtype) for k in range(3)], 3 if t % 2 == 0 else 2)
    seen = [
        gradients,
        2 * gradients,
        [3 * g if t % 2 == 0 else None for t, g in enumerate(gradients)],
    ]
    for k in range(3):
        expected = reference(starts[k], seen[k])[-1:]
        assert paper.relative_error(variables[k].numpy()[None], expected) < TOLERANCE[dtype]


def test_a_packed_variable_without_gradient_keeps_its_weights_and_slots():
    variables = [keras.Variable(THETA) for _ in range(3)]
    optimizer = Adam()
    gradient = tf.constant(GRADIENTS[0], "float32")
    optimizer.apply([gradient] * 3, variables)
    before = [variables[2].numpy(), optimizer.slot(variables[2], "velocity").numpy()]
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([gradient, gradient, None], variables)
    np.testing.assert_array_equal(variables[2].numpy(), before[0])
    np.testing.assert_array_equal(optimizer.slot(variables[2], "velocity").numpy(), before[1])
    assert not np.array_equal(variables[1].numpy(), before[0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("how", ["graph", "eager", "xla", "packed"])
def test_a_weight_that_never_saw_a_gradient_does_not_move(optimizer, how):
    optimizer = optimizer(epsilon=0.0)
    count = 2 if how == "packed" else 1
    variables = [keras.Variable([3.0, 3.0, 3.0]) for _ in range(count)]

    def step(gradient):
        optimizer.apply([gradient] * count, variables)

    optimizer.build(variables)
    if how != "eager":
        step = tf.function(step, jit_compile=how == "xla")
    for sign in (1.0, -1.0, 1.0):
        step(tf.constant([sign, 0.0, 1e-20]))
    weights = variables[-1].numpy()
    assert weights[1] == 3.0
    assert np.isfinite(weights).all()
    assert weights[0] < 3.0
    assert weights[2] < 3.0


def test_the_efficient_order_is_what_keras_computes():
    """With numbers that float32 holds exactly, through which Keras passes its arguments."""
    arguments = {"learning_rate": 2.0**-7, "beta_1": 0.875, "beta_2": 0.984375, "epsilon": 2.0**-23}
    ours = paper.run(Adam(epsilon_hat=True, **arguments), THETA, GRADIENTS[:200], "float64")
    theirs = paper.run(keras.optimizers.Adam(**arguments), THETA, GRADIENTS[:200], "float64")
    assert paper.relative_error(ours, theirs) < 1e-12


def test_algorithm_1_is_not_what_keras_computes():
    """At the first step of a gradient of 1e-8 the two readings of ε differ more than tenfold."""
    small = np.full([1, 1], 1e-8)
    ours = paper.run(Adam(1e-3, epsilon=1e-8), np.zeros(1), small)
    keras_path = paper.run(keras.optimizers.Adam(1e-3, epsilon=1e-8), np.zeros(1), small)
    np.testing.assert_allclose(ours, [[-0.5e-3]], rtol=1e-5)
    assert abs(keras_path[0, 0]) < 0.05e-3
