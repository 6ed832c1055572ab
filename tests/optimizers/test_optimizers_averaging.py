"""Temporal averaging of section 7.2."""

import adam_reference as paper
import keras
import numpy as np
import pytest
import tensorflow as tf
from optimizer_cases import EVERY_OPTIMIZER

from tfgen.errors import InputError
from tfgen.optimizers import Adam, AdaMax, AveragingCallback, average_of, averaged_weights

RNG = np.random.default_rng(3)
X = RNG.normal(size=(32, 4)).astype("float32")
Y = RNG.normal(size=(32, 1)).astype("float32")


def model(optimizer):
    keras.utils.set_random_seed(7)
    net = keras.Sequential([keras.Input([4]), keras.layers.Dense(3), keras.layers.Dense(1)])
    net.compile(optimizer, "mse", jit_compile=False)
    return net


def weights_of(net):
    return [w.numpy() for w in net.trainable_variables]


@EVERY_OPTIMIZER
@pytest.mark.parametrize("how", ["graph", "xla", "packed"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_it_is_the_average_of_the_paper(make, how, dtype, tolerance):
    count = 2 if how == "packed" else 1
    variables = [keras.Variable(RNG.normal(size=(3, 2)), dtype=dtype) for _ in range(count)]
    optimizer = make(0.01, temporal_averaging=True)
    optimizer.build(variables)

    @tf.function(jit_compile=how == "xla")
    def trajectory(gradients):
        path = tf.TensorArray(dtype, len(gradients), element_shape=[3, 2])
        for t in tf.range(len(gradients)):
            optimizer.apply([gradients[t]] * count, variables)
            path = path.write(t, variables[-1].value)
        return path.stack()

    path = trajectory(tf.constant(RNG.normal(size=(1000, 3, 2)), dtype)).numpy()
    average = average_of(optimizer, variables[-1]).numpy()
    expected = paper.temporal_average(path.astype(np.float64))
    assert paper.relative_error(average[None], expected[None]) < tolerance


def test_weights_at_rest_are_their_own_average():
    """Without bias correction, an average that starts at zero is still wrong after 1,000 steps."""
    weights = keras.Variable([1.0, -3.0, 1e-6])
    optimizer = Adam(0.0, beta_2=0.9999, temporal_averaging=True)
    for _ in range(100):
        optimizer.apply([tf.ones(3)], [weights])
        average = average_of(optimizer, weights)
        np.testing.assert_allclose(average.numpy(), weights.numpy(), rtol=1e-5)


def test_the_context_gives_averages_and_restores_exactly():
    net = model(Adam(0.05, beta_2=0.9, temporal_averaging=True))
    net.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    before = weights_of(net)
    state = [v.numpy() for v in net.optimizer.variables]
    expected = [average_of(net.optimizer, v).numpy() for v in net.trainable_variables]
    with averaged_weights(net.optimizer):
        inside = weights_of(net)
        net.evaluate(X, Y, verbose=0)
    for a, b in zip(inside, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(inside[0], before[0])
    for a, b in zip(weights_of(net), before, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(net.optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


def test_the_context_restores_after_an_error():
    net = model(Adam(0.05, temporal_averaging=True))
    net.fit(X, Y, epochs=1, verbose=0)
    before = weights_of(net)

    def fail():
        with averaged_weights(net.optimizer):
            raise KeyError("inside")

    with pytest.raises(KeyError):
        fail()
    np.testing.assert_array_equal(weights_of(net)[0], before[0])


def test_before_the_first_step_averages_are_the_weights():
    net = model(Adam(temporal_averaging=True))
    before = weights_of(net)
    for build in (False, True):
        if build:
            net.optimizer.build(net.trainable_variables)
        with averaged_weights(net.optimizer):
            np.testing.assert_array_equal(weights_of(net)[0], before[0])


def test_the_callback_evaluates_and_saves_without_disturbing_training(tmp_path):
    def trained(callbacks):
        net = model(Adam(0.05, beta_2=0.9, temporal_averaging=True))
        history = net.fit(
            X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=callbacks
        )
        return net, history.history

    callback = AveragingCallback((X, Y), tmp_path / "at-{epoch}.weights.h5")
    net, history = trained([callback])
    plain, plain_history = trained([])
    assert history["loss"] == plain_history["loss"]
    np.testing.assert_array_equal(weights_of(net)[0], weights_of(plain)[0])
    assert len(history["averaged_val_loss"]) == 3

    other = model("sgd")
    other.load_weights(tmp_path / "at-3.weights.h5")
    with averaged_weights(net.optimizer):
        np.testing.assert_array_equal(weights_of(other)[0], weights_of(net)[0])
    loss = other.evaluate(X, Y, verbose=0)
    assert history["averaged_val_loss"][-1] == pytest.approx(loss, rel=1e-6)


def test_the_callback_saves_whole_models_from_data_sets(tmp_path):
    net = model(AdaMax(0.05, temporal_averaging=True))
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    callback = AveragingCallback(validation_data=data, filepath=tmp_path / "average.keras")
    history = net.fit(X, Y, epochs=1, verbose=0, callbacks=[callback]).history
    loaded = keras.models.load_model(tmp_path / "average.keras")
    loss = loaded.evaluate(X, Y, verbose=0)
    assert history["averaged_val_loss"][-1] == pytest.approx(loss, rel=1e-5)


def test_it_works_with_a_loss_scale_optimizer():
    inner = Adam(0.05, temporal_averaging=True)
    net = model(keras.optimizers.LossScaleOptimizer(inner))
    net.fit(X, Y, epochs=1, verbose=0, callbacks=[AveragingCallback((X, Y))])
    before = weights_of(net)
    with averaged_weights(net.optimizer):
        assert not np.array_equal(weights_of(net)[0], before[0])


def test_accumulation_averages_once_for_each_update():
    weights = keras.Variable([0.0])
    optimizer = Adam(
        1.0, beta_1=0.5, beta_2=0.5, temporal_averaging=True, gradient_accumulation_steps=3
    )
    for _ in range(6):  # the weights become -1, then -2
        optimizer.apply([tf.constant([1.0])], [weights])
    average = average_of(optimizer, weights).numpy()
    np.testing.assert_allclose(average, [-1.25 / 0.75], rtol=1e-6)


@EVERY_OPTIMIZER
def test_without_an_update_the_moving_average_is_the_weights(make):
    """Four batches are too few for one update of eight."""
    net = model(make(0.1, use_ema=True, gradient_accumulation_steps=8))
    before = weights_of(net)
    net.fit(X, Y, batch_size=8, epochs=1, verbose=0)
    for found, weight in zip(weights_of(net), before, strict=True):
        np.testing.assert_array_equal(found, weight)
    net.fit(X, Y, batch_size=8, epochs=1, verbose=0)  # the first update
    for found, weight in zip(weights_of(net), before, strict=True):
        assert np.all(found != weight)


def test_without_an_update_of_finite_gradients_the_moving_average_is_the_weights():
    weights = keras.Variable([1.0])
    optimizer = keras.optimizers.LossScaleOptimizer(Adam(0.1, use_ema=True))
    optimizer.build([weights])
    optimizer.apply([tf.constant([np.inf])], [weights])
    optimizer.finalize_variable_values([weights])
    assert weights.numpy() == [1.0]


@pytest.mark.parametrize("in_graph", [False, True])
def test_the_moving_average_goes_to_the_variables_that_are_given(in_graph):
    trained, copy = keras.Variable([1.0, 2.0]), keras.Variable([7.0, 7.0])
    optimizer = Adam(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.build([trained])

    def finalize():
        optimizer.finalize_variable_values([copy])

    finalize = tf.function(finalize) if in_graph else finalize
    finalize()
    np.testing.assert_array_equal(copy.numpy(), [7.0, 7.0])
    path = []
    for _ in range(2):
        optimizer.apply([tf.constant([1.0, -1.0])], [trained])
        path.append(trained.numpy())
    finalize()
    np.testing.assert_allclose(copy.numpy(), (path[0] + path[1]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(trained.numpy(), path[1])


def test_an_optimizer_without_averages_is_refused():
    net = model(Adam())
    with (
        pytest.raises(InputError, match="temporal_averaging=True"),
        averaged_weights(net.optimizer),
    ):
        pass
    with pytest.raises(InputError, match="temporal_averaging=True"):
        net.fit(X, Y, verbose=0, callbacks=[AveragingCallback((X, Y))])
    with pytest.raises(InputError, match="SGD keeps no averages"):
        average_of(keras.optimizers.SGD(), net.trainable_variables[0])
    with pytest.raises(InputError, match="give validation_data, filepath, or both"):
        AveragingCallback()
    with pytest.raises(InputError, match=r"ends in \.weights\.h5 or \.keras"):
        AveragingCallback(filepath="model.bin")


@pytest.mark.parametrize("make", [Adam, keras.optimizers.SGD])
@pytest.mark.parametrize("scaled", [False, True])
def test_moving_averages_are_read_evaluated_and_restored_like_temporal_ones(make, scaled):
    optimizer = make(0.1, use_ema=True, ema_momentum=0.5)
    net = model(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    before = weights_of(net)
    net.optimizer.build(net.trainable_variables)
    with averaged_weights(net.optimizer):
        np.testing.assert_array_equal(weights_of(net)[0], before[0])
    path = []
    for _ in range(3):
        net.train_on_batch(X, Y)
        path.append(weights_of(net)[0])
    expected = 0.5 * (0.5 * path[0] + 0.5 * path[1]) + 0.5 * path[2]
    kernel = net.trainable_variables[0]
    np.testing.assert_allclose(average_of(net.optimizer, kernel), expected, rtol=1e-5)
    with averaged_weights(net.optimizer):
        np.testing.assert_array_equal(kernel.numpy(), average_of(net.optimizer, kernel))
    np.testing.assert_array_equal(kernel.numpy(), path[2])


def test_averages_are_optional_where_the_caller_says_so():
    net = model(Adam())
    before = weights_of(net)
    with averaged_weights(net.optimizer, required=False):
        np.testing.assert_array_equal(weights_of(net)[0], before[0])
