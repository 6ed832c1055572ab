"""A step needs no temporary of the size of the weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from optimizer_cases import EVERY_OPTIMIZER

from tfgen.optimizers import Adam, AdaMax
from tfgen.training.memory import is_counted

pytestmark = pytest.mark.skipif(
    not is_counted(), reason="TensorFlow does not count memory on this CPU"
)

ROWS, WIDTH = 2**15, 64
SIZE = ROWS * WIDTH * 4  # bytes of the weights
DEVICE = "CPU:0"


def most_held(step):
    """The peak memory of a step in bytes, beyond what TensorFlow held before."""
    step()
    tf.config.experimental.reset_memory_stats(DEVICE)
    before = tf.config.experimental.get_memory_info(DEVICE)["current"]
    step()
    return tf.config.experimental.get_memory_info(DEVICE)["peak"] - before


def step_of(optimizer, gradient):
    weights = keras.Variable(np.zeros((ROWS, WIDTH), "float32"))
    optimizer.build([weights])
    step = tf.function(lambda g: optimizer.apply([g], [weights]))
    return lambda: step(gradient)


def rows_of_ones(count):
    indices = np.random.default_rng(0).integers(0, ROWS, size=count)
    return tf.IndexedSlices(
        tf.ones([count, WIDTH]), tf.constant(indices), tf.constant([ROWS, WIDTH])
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        Adam(),
        Adam(amsgrad=True),
        Adam(temporal_averaging=True, use_ema=True),
        AdaMax(),
        AdaMax(temporal_averaging=True),
    ],
    ids=["adam", "amsgrad", "averages", "adamax", "adamax-average"],
)
def test_a_dense_step_needs_no_temporary(optimizer):
    assert most_held(step_of(optimizer, tf.ones([ROWS, WIDTH]))) < SIZE // 16


@EVERY_OPTIMIZER
@pytest.mark.parametrize("lazy", [False, True])
def test_a_sparse_step_needs_no_temporary(make, lazy):
    assert most_held(step_of(make(lazy=lazy), rows_of_ones(100))) < SIZE // 4


def test_the_measure_sees_the_temporaries_of_keras():
    """The same measure finds the temporaries of Keras' step."""
    assert most_held(step_of(keras.optimizers.Adam(), tf.ones([ROWS, WIDTH]))) >= SIZE


def test_the_state_consists_of_two_slots():
    variables = [keras.Variable(np.zeros(shape)) for shape in [(200, 100), (5, 5), (7,)]]
    count = sum(v.value.shape.num_elements() for v in variables)
    for optimizer in (Adam(), AdaMax()):
        optimizer.build(variables)
        state = optimizer.variables[2:]  # without the iteration and the learning rate
        assert sum(v.value.shape.num_elements() for v in state) == 2 * count
