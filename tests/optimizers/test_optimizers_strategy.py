"""Two devices take the steps of one."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.optimizers import (
    Adam,
    AdaMax,
    AveragingCallback,
    average_of,
    averaged_weights,
)

RNG = np.random.default_rng(6)
TOKENS = RNG.integers(0, 12, size=(32, 3))
Y = RNG.normal(size=(32, 1)).astype("float32")
CASES = {
    "adam": lambda: Adam(0.02, amsgrad=True, weight_decay=0.1),
    "adamax": lambda: AdaMax(0.02, temporal_averaging=True),
    "lazy": lambda: AdaMax(0.02, lazy=True),
    "clipping": lambda: Adam(0.02, global_clipnorm=0.1, loss_scale_factor=8.0),
    "accumulation": lambda: Adam(0.02, gradient_accumulation_steps=2),
    "accumulation, clipping": lambda: AdaMax(
        0.02, gradient_accumulation_steps=3, clipnorm=0.05, temporal_averaging=True
    ),
    "ema": lambda: Adam(0.02, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(Adam(0.02)),
}


DEFAULT_REDUCTION = "TFGEN_TEST_DEFAULT_REDUCTION"


@pytest.fixture(scope="module")
def mirrored():
    """Two devices. The default reduction allows a single such strategy in a process."""
    reduction = tf.distribute.ReductionToOneDevice()
    if DEFAULT_REDUCTION in os.environ:
        reduction = None
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)


def model(make, strategy):
    keras.utils.set_random_seed(11)
    with strategy.scope():
        net = keras.Sequential(
            [
                keras.Input([3], dtype="int32"),
                keras.layers.Embedding(12, 4),
                keras.layers.Flatten(),
                keras.layers.Dense(1, kernel_constraint="max_norm"),
            ]
        )
        net.compile(make(), "mse", jit_compile=False)
    return net


def fit(net, **how):
    net.fit(TOKENS, Y, batch_size=8, epochs=2, shuffle=False, verbose=0, **how)
    return net


def assert_close(net, expected):
    pairs = [*zip(net.trainable_variables, expected.trainable_variables, strict=True)]
    pairs += zip(net.optimizer.variables, expected.optimizer.variables, strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_two_devices_equal_one(make, mirrored):
    one = fit(model(make, tf.distribute.get_strategy()))
    two = fit(model(make, mirrored))
    assert_close(two, one)
    for variable in two.trainable_variables:
        replicas = [v.numpy() for v in variable.value.values]
        np.testing.assert_array_equal(replicas[0], replicas[1])


@pytest.mark.slow
def test_two_devices_equal_one_with_the_default_reduction():
    """TensorFlow's collectives, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__]
    command += ["-k", "adam and not adamax or average"]
    environment = {**os.environ, DEFAULT_REDUCTION: "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_large_and_small_variables_in_a_custom_loop(mirrored):
    """Without `fit`: the loss is already summed, and some variables are too large to pack."""
    start = RNG.normal(size=(130, 130)).astype("float32")

    def trained(strategy):
        with strategy.scope():
            variables = [keras.Variable(start), keras.Variable(start[0]), keras.Variable(start[1])]
            optimizer = Adam(0.01)
            optimizer.build(variables)

        @tf.function
        def step():
            def replica():
                share = 1.0 / strategy.num_replicas_in_sync
                optimizer.apply([share * tf.sin(v) for v in variables], variables)

            strategy.run(replica)

        for _ in range(5):
            step()
        assert len(optimizer.packs) == 1
        return [v.numpy() for v in variables]

    for a, b in zip(trained(mirrored), trained(tf.distribute.get_strategy()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_averages_under_a_strategy(mirrored, tmp_path):
    make = CASES["adamax"]
    path = tmp_path / "average.weights.h5"
    callback = AveragingCallback((TOKENS, Y), path)
    two = fit(model(make, mirrored), callbacks=[callback])
    one = fit(model(make, tf.distribute.get_strategy()))
    before = two.trainable_variables[0].numpy()
    with averaged_weights(two.optimizer):
        inside = two.trainable_variables[0].numpy()
    expected = average_of(one.optimizer, one.trainable_variables[0]).numpy()
    np.testing.assert_allclose(inside, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(two.trainable_variables[0].numpy(), before)


def test_a_model_saved_from_two_devices_continues_on_one(mirrored, tmp_path):
    two = fit(model(CASES["accumulation"], mirrored))
    two.save(tmp_path / "model.keras")
    one = keras.models.load_model(tmp_path / "model.keras")
    assert_close(fit(one), fit(two))


def test_one_device_strategy():
    one = fit(model(CASES["adam"], tf.distribute.OneDeviceStrategy("CPU:1")))
    assert_close(one, fit(model(CASES["adam"], tf.distribute.get_strategy())))
