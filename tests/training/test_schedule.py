"""The learning rate over the steps, against its equations in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.training.schedule import DECAYS, WarmupDecay

PEAK, TOTAL, WARMUP, FINAL = 3e-3, 1000, 100, 0.05


def expected(decay, steps):
    part = np.clip((steps - WARMUP) / (TOTAL - 1 - WARMUP), 0, 1)
    factor = {
        "constant": np.ones_like(part),
        "linear": np.interp(part, [0, 1], [1, FINAL]),
        "cosine": FINAL + (1 - FINAL) * np.cos(part * np.pi / 2) ** 2,
        "exponential": FINAL**part,
    }[decay]
    return PEAK * np.where(steps < WARMUP, (steps + 1) / WARMUP, factor)


@pytest.mark.parametrize("decay", DECAYS)
def test_it_follows_its_equation(decay):
    schedule = WarmupDecay(PEAK, TOTAL, warmup_steps=WARMUP, decay=decay, final=FINAL)
    steps = np.arange(TOTAL + 10)
    found = np.array([float(schedule(tf.constant(t, tf.int64))) for t in steps[::7]])
    np.testing.assert_allclose(found, expected(decay, steps[::7].astype("float64")), rtol=1e-12)
    if decay != "constant":
        assert float(schedule(TOTAL - 1)) == pytest.approx(PEAK * FINAL, rel=1e-12)


@pytest.mark.parametrize("decay", DECAYS)
def test_without_warm_up_it_begins_at_the_peak(decay):
    assert float(WarmupDecay(PEAK, TOTAL, decay=decay, final=FINAL)(0)) == PEAK


def test_a_single_step_and_a_warm_up_longer_than_the_training_are_fine():
    assert float(WarmupDecay(1.0, 1, decay="cosine", final=0.0)(0)) == 1.0
    long = WarmupDecay(1.0, 10, warmup_steps=100, decay="linear")
    assert float(long(9)) == pytest.approx(0.1)


def test_keras_saves_it():
    schedule = WarmupDecay(PEAK, TOTAL, warmup_steps=WARMUP, decay="cosine", final=FINAL)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert float(again(321)) == float(schedule(321))


def test_the_optimizer_takes_steps_of_this_size():
    """With beta_1 = beta_2 = 0 a step of Adam is the learning rate times the gradient's sign."""
    schedule = WarmupDecay(0.5, 6, warmup_steps=2, decay="linear", final=0.0)
    optimizer = tfgen.optimizers.Adam(schedule, beta_1=0.0, beta_2=0.0)
    weight = keras.Variable([10.0])
    taken = []
    for _ in range(6):
        before = float(weight.numpy()[0])
        optimizer.apply([tf.constant([2.0])], [weight])
        taken.append(before - float(weight.numpy()[0]))
    np.testing.assert_allclose(taken, [0.25, 0.5, 0.5, 1 / 3, 1 / 6, 0.0], atol=1e-5)
