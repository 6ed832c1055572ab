"""What holds for every optimizer: it is registered, minimizes, and is restored from its files."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from optimizer_cases import EVERY_OPTIMIZER, OPTIMIZERS

from tfgen import optimizers


def test_every_exported_optimizer_is_among_the_cases():
    exported = {
        name
        for name in optimizers.__all__
        if inspect.isclass(cls := getattr(optimizers, name))
        and issubclass(cls, keras.optimizers.Optimizer)
    }
    assert exported == {cls.__name__ for cls in OPTIMIZERS.values()} == set(optimizers.CLASSES)


def minimized(optimizer, steps, variables=None):
    """Variables after some steps towards the minimum of (x - 1)^2 + (y + 2)^2."""
    variables = variables or [keras.Variable([3.0, -4.0]), keras.Variable(np.zeros((130, 130)))]
    optimizer.build(variables)
    step = tf.function(
        lambda: optimizer.apply(
            [2 * (v - goal) for v, goal in zip(variables, (1.0, -2.0), strict=True)], variables
        )
    )
    for _ in range(steps):
        step()
    return variables


@EVERY_OPTIMIZER
def test_it_finds_a_minimum(make):
    variables = minimized(make(optimizers.InverseSqrt(0.5), beta_2=0.9), 300)
    for variable, goal in zip(variables, (1.0, -2.0), strict=True):
        np.testing.assert_allclose(variable, np.full(variable.shape, goal), atol=0.02)


@EVERY_OPTIMIZER
def test_its_slots_have_the_shapes_of_the_variables(make):
    optimizer = make()
    for variable in minimized(optimizer, 1):
        for name in optimizer.slot_names:
            slot = optimizer.slot(variable, name)
            assert slot.shape == variable.shape
            assert np.all(slot)


@EVERY_OPTIMIZER
def test_config_and_state_restore_it(make):
    optimizer = make(0.1)
    variables = minimized(optimizer, 3)
    store = {}
    optimizer.save_own_variables(store)
    other = make.from_config(json.loads(json.dumps(optimizer.get_config())))
    copies = [keras.Variable(variable.numpy()) for variable in variables]
    other.build(copies)
    other.load_own_variables(store)
    minimized(optimizer, 2, variables)
    minimized(other, 2, copies)
    for variable, copy in zip(variables, copies, strict=True):
        np.testing.assert_array_equal(variable, copy)


@EVERY_OPTIMIZER
@pytest.mark.parametrize("name", ["learning_rate", "epsilon", "beta_1", "beta_2"])
def test_its_first_arguments_have_the_names_and_the_order_of_keras(make, name):
    ours = list(inspect.signature(make.__init__).parameters)
    theirs = list(inspect.signature(keras.optimizers.Adam.__init__).parameters)
    assert ours.index(name) == theirs.index(name)
