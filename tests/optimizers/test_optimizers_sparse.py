"""Sparse gradients: the dense result for any indices, and the lazy mode."""

import adam_reference as paper
import keras
import numpy as np
import pytest
import tensorflow as tf
from optimizer_cases import EVERY_OPTIMIZER

from tfgen.optimizers import Adam, AdaMax

RNG = np.random.default_rng(1)


def sparse_and_dense(rows, width, slices, steps, dtype="float32"):
    """For each step slices with repeated indices, and the dense gradient they stand for."""
    for _ in range(steps):
        indices = RNG.integers(0, max(2, rows // 3), size=slices)
        values = RNG.normal(size=(slices, width))
        dense = np.zeros((rows, width))
        np.add.at(dense, indices, values)
        shape = tf.constant([rows, width], tf.int64)
        yield tf.IndexedSlices(tf.constant(values, dtype), tf.constant(indices), shape), dense


@pytest.mark.parametrize(
    ("make", "first_row"), [(Adam, [-2.0, -2.0]), (AdaMax, [-2.0, -2.0])], ids=["adam", "adamax"]
)
def test_two_slices_of_one_row_count_as_their_sum(make, first_row):
    """The example on which Keras' Adam gives [-2.530, -0.894] and its Adamax [-2, -0.667]."""
    weights = keras.Variable(np.zeros((3, 2), "float32"))
    optimizer = make(learning_rate=1.0)
    for _ in range(2):
        slices = tf.IndexedSlices(tf.constant([[1.0, 2.0], [3.0, -1.0]]), tf.constant([1, 1]))
        optimizer.apply([slices], [weights])
    np.testing.assert_allclose(weights.numpy(), [[0, 0], first_row, [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [(Adam, {}), (Adam, {"amsgrad": True}), (AdaMax, {})],
    ids=["adam", "amsgrad", "adamax"],
)
@pytest.mark.parametrize("how", ["graph", "eager", "xla", "packed"])
def test_sparse_gradients_give_the_result_of_dense_ones(make, arguments, how):
    start = RNG.normal(size=(40, 3)).astype("float32")
    count = 2 if how == "packed" else 1
    variables = [keras.Variable(start) for _ in range(count)]
    optimizer = make(0.01, weight_decay=0.01, **arguments)
    optimizer.build(variables)
    assert bool(optimizer.packs) == (how == "packed")

    def step(slices):
        optimizer.apply([slices] * count, variables)

    if how != "eager":
        step = tf.function(step, jit_compile=how == "xla")
    gradients = []
    for slices, dense in sparse_and_dense(40, 3, slices=9, steps=50):
        step(slices)
        gradients.append(dense)
    expected = paper.run(make(0.01, weight_decay=0.01, **arguments), start, gradients)[-1]
    np.testing.assert_allclose(variables[-1].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_a_sparse_step_in_many_blocks_gives_the_dense_result(monkeypatch):
    monkeypatch.setattr("tfgen.optimizers.rows.BLOCK", 64)
    start = RNG.normal(size=(1001, 8))
    weights = keras.Variable(start, dtype="float64")
    optimizer = Adam(0.01)
    gradients = []
    for slices, dense in sparse_and_dense(1001, 8, slices=30, steps=20, dtype="float64"):
        optimizer.apply([slices], [weights])
        gradients.append(dense)
    expected = paper.adam(start, gradients, rate=0.01)[-1:]
    assert paper.relative_error(weights.numpy()[None], expected) < 1e-12


@EVERY_OPTIMIZER
def test_an_embedding_trains_as_with_dense_gradients(make):
    """Through `fit`, where every batch names most of its rows several times."""
    tokens = RNG.integers(0, 50, size=(64, 6))
    targets = RNG.normal(size=(64, 1))

    def trained(dense):
        keras.utils.set_random_seed(3)
        table = keras.layers.Embedding(50, 4)
        layers = [keras.Input([6], dtype="int32"), table, keras.layers.Flatten()]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        optimizer = make(0.01)
        if dense:
            apply = optimizer.apply
            optimizer.apply = lambda grads, variables: apply(
                [tf.convert_to_tensor(g) for g in grads], variables
            )
        model.compile(optimizer, "mse", jit_compile=False)
        model.fit(tokens, targets, batch_size=16, epochs=3, shuffle=False, verbose=0)
        return table.embeddings.numpy()

    np.testing.assert_allclose(trained(dense=False), trained(dense=True), rtol=1e-5, atol=1e-6)


@EVERY_OPTIMIZER
@pytest.mark.parametrize("jit_compile", [False, True])
def test_lazy_touches_only_the_rows_with_gradients(make, jit_compile):
    start = RNG.normal(size=(6, 2)).astype("float32")
    weights = keras.Variable(start)
    optimizer = make(0.1, lazy=True)
    optimizer.build([weights])

    @tf.function(jit_compile=jit_compile)
    def step(values, indices):
        optimizer.apply([tf.IndexedSlices(values, indices, tf.constant([6, 2]))], [weights])

    values = tf.constant([[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]])
    step(values, tf.constant([4, 1, 4]))
    after_one = weights.numpy()
    np.testing.assert_array_equal(after_one[[0, 2, 3, 5]], start[[0, 2, 3, 5]])
    np.testing.assert_allclose(after_one[[1, 4]], start[[1, 4]] - 0.1, rtol=1e-5)
    momentum = optimizer.slot(weights, "momentum").numpy()
    np.testing.assert_allclose(momentum[4], [0.15, 0.1], rtol=1e-5)

    step(values[:1], tf.constant([0]))
    np.testing.assert_array_equal(weights.numpy()[1:], after_one[1:])
    np.testing.assert_array_equal(optimizer.slot(weights, "momentum").numpy()[1:], momentum[1:])


def test_clipping_sees_the_sum_of_repeated_rows():
    """Two slices of 3 are one gradient of 6, whose norm is above 5."""
    slices = tf.IndexedSlices(tf.constant([[3.0], [3.0]]), tf.constant([1, 1]), (2, 1))
    for clipping in ({"clipnorm": 5.0}, {"global_clipnorm": 5.0}, {"clipvalue": 5.0}):
        weights = keras.Variable(np.zeros((2, 1), "float32"))
        optimizer = Adam(beta_2=0.9, **clipping)
        optimizer.apply([slices], [weights])
        momentum = optimizer.slot(weights, "momentum").numpy()
        np.testing.assert_allclose(momentum, [[0.0], [0.5]], rtol=1e-6)


def test_loss_scale_and_accumulation_of_sparse_gradients():
    weights = keras.Variable(np.zeros((3, 1), "float32"))
    optimizer = Adam(0.1, gradient_accumulation_steps=2, loss_scale_factor=4.0)
    for _ in range(2):
        slices = tf.IndexedSlices(tf.constant([[4.0], [8.0]]), tf.constant([2, 2]), (3, 1))
        optimizer.apply([slices], [weights])
    momentum = optimizer.slot(weights, "momentum").numpy()
    np.testing.assert_allclose(momentum, [[0.0], [0.0], [0.3]], rtol=1e-6)
    np.testing.assert_allclose(weights.numpy(), [[0.0], [0.0], [-0.1]], rtol=1e-6)
