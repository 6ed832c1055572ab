"""The optimizer's state survives save and resume."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.optimizers import Adam, AdaMax, average_of

RNG = np.random.default_rng(4)
X = RNG.normal(size=(32, 4)).astype("float32")
Y = RNG.normal(size=(32, 1)).astype("float32")
ALL = {
    "adam": lambda: Adam(0.02),
    "amsgrad": lambda: Adam(0.02, amsgrad=True, temporal_averaging=True),
    "adamax": lambda: AdaMax(0.02, temporal_averaging=True, use_ema=True, ema_momentum=0.9),
    "accumulation": lambda: Adam(0.02, gradient_accumulation_steps=3),
    "lazy": lambda: Adam(0.02, lazy=True),
}
EVERY = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def model(optimizer):
    keras.utils.set_random_seed(9)
    net = keras.Sequential([keras.Input([4]), keras.layers.Dense(150), keras.layers.Dense(1)])
    net.compile(optimizer, "mse", jit_compile=False)
    return net


def fit(net):
    net.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    return net


def assert_same(net, expected):
    pairs = [*zip(net.trainable_variables, expected.trainable_variables, strict=True)]
    pairs += zip(net.optimizer.variables, expected.optimizer.variables, strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@EVERY
def test_a_saved_model_resumes_exactly(make, tmp_path):
    net = fit(model(make()))
    net.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(net.optimizer)
    assert_same(loaded, net)
    if net.optimizer.temporal_averaging:
        a, b = (average_of(n.optimizer, n.trainable_variables[0]) for n in (loaded, net))
        np.testing.assert_array_equal(a, b)
    assert_same(fit(loaded), fit(net))


@EVERY
def test_a_tf_checkpoint_resumes_exactly(make, tmp_path):
    net = fit(model(make()))
    path = tf.train.Checkpoint(model=net, optimizer=net.optimizer).save(str(tmp_path / "at"))
    other = model(make())
    other.optimizer.build(other.trainable_variables)
    tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path)
    assert_same(other, net)
    assert_same(fit(other), fit(net))


def test_a_file_does_not_depend_on_what_is_packed(tmp_path, monkeypatch):
    net = fit(model(Adam(0.02)))
    assert net.optimizer.packs
    net.save(tmp_path / "model.keras")
    monkeypatch.setattr("tfgen.optimizers.packing.LARGEST_MEMBER", 10)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.optimizer.packs
    for a, b in zip(net.trainable_variables, loaded.trainable_variables, strict=True):
        for name in ("momentum", "velocity"):
            np.testing.assert_array_equal(
                net.optimizer.slot(a, name), loaded.optimizer.slot(b, name)
            )
    loaded.save(tmp_path / "again.keras")
    monkeypatch.undo()
    assert_same(keras.models.load_model(tmp_path / "again.keras"), net)


@EVERY
def test_a_model_saved_before_its_first_step(make, tmp_path):
    net = model(make())
    net.optimizer.learning_rate = 0.5
    net.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The state of optimizer")
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.learning_rate) == 0.5
    assert_same(fit(loaded), fit(net))


def test_the_state_of_another_optimizer_is_refused_with_a_warning(tmp_path):
    net = fit(model(Adam(0.02)))
    net.save_weights(tmp_path / "model.weights.h5")
    other = model(AdaMax(0.03))
    other.optimizer.build(other.trainable_variables)
    with pytest.warns(UserWarning, match="state of optimizer .* was not loaded"):
        other.load_weights(tmp_path / "model.weights.h5")
    assert float(other.optimizer.learning_rate) == 0.03


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_state_of_keras_sgd_is_refused_with_a_warning(momentum, tmp_path):
    """It has numbers only: counters, and perhaps as many momenta as there are averages here."""
    net = fit(model(keras.optimizers.SGD(0.01, momentum=momentum)))
    net.save_weights(tmp_path / "model.weights.h5")
    other = model(Adam(0.03, use_ema=True))
    other.optimizer.build(other.trainable_variables)
    with pytest.warns(UserWarning, match="state of optimizer .* was not loaded"):
        other.load_weights(tmp_path / "model.weights.h5")
    assert float(other.optimizer.learning_rate) == pytest.approx(0.03)
    assert int(other.optimizer.iterations) == 0
    assert not any(np.any(average) for average in other.optimizer._model_variables_moving_average)


def test_a_state_without_the_number_of_steps_is_refused_with_a_warning():
    optimizer = Adam(0.03)
    optimizer.build([keras.Variable([1.0])])
    with pytest.warns(UserWarning, match="state of optimizer .* was not loaded"):
        optimizer.load_own_variables({"1": np.float32(0.2)})
    assert float(optimizer.learning_rate) == pytest.approx(0.03)


def test_slots_have_the_expected_names():
    weights = keras.Variable(np.zeros((3, 2)), name="kernel")
    optimizer = Adam()
    optimizer.build([weights])
    assert [v.path.split("/")[-1] for v in optimizer.variables[2:]] == [
        "kernel_momentum",
        "kernel_velocity",
    ]
    with pytest.raises(ValueError, match="slot must be one of momentum, velocity, got 'norm'"):
        optimizer.slot(weights, "norm")
