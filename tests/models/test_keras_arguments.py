"""Arguments of Keras are honoured or refused; callbacks know the direction of every metric."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError


@pytest.fixture(scope="module")
def images():
    return tfgen.data.load("digits").images("train")[:32]


@pytest.fixture(scope="module")
def model():
    return tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4])


@pytest.mark.parametrize("argument", ["loss", "metrics", "weighted_metrics", "loss_weights"])
def test_compile_refuses_what_it_would_ignore(argument, model):
    with pytest.raises(InputError, match=f"vae: compile takes no {argument}: "):
        model.compile("sgd", **{argument: ["mse"]})


def test_data_that_would_be_ignored_are_refused_before_training(images, model):
    model.compile("sgd")
    before = [weight.numpy() for weight in model.weights]
    labels, weights = np.zeros(32, int), np.ones(32)
    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    weighted = tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(8)
    for call, message in (
        (lambda: model.fit(images, labels), "fit has targets"),
        (lambda: model.fit(pairs), "the data set has targets"),
        (lambda: model.fit(weighted), "sample weights are not supported"),
        (lambda: model.fit(images, class_weight={0: 2.0}), "class_weight is not supported"),
        (lambda: model.fit(images, sample_weight=weights), "sample weights are not supported"),
        (
            lambda: model.fit(images, validation_data=(images, labels)),
            "validation_data has targets",
        ),
        (lambda: model.evaluate(pairs), "the data set has targets"),
        (lambda: model.evaluate(images, labels), "evaluate has targets"),
        (lambda: model.evaluate(images, sample_weight=weights), "sample weights"),
        (lambda: model.train_on_batch(images, labels), "has targets"),
    ):
        with pytest.raises(InputError, match=message):
            call()
        for weight, old in zip(model.weights, before, strict=True):
            np.testing.assert_array_equal(weight, old)


def test_callbacks_need_no_mode_and_options_of_compile_take_effect(images, model, tmp_path):
    model.compile("sgd", run_eagerly=True)
    eager = model.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    model.compile(keras.optimizers.SGD(1e-4), steps_per_execution=2)
    found = model.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    assert found == pytest.approx(eager, rel=1e-5)
    listed = [found[name] for name in ("loss", "bits_per_dim", "reconstruction", "kl")]
    assert model.evaluate(images, batch_size=8, verbose=0) == pytest.approx(listed)

    values = iter([3.0, 1.0, 2.0, 2.5, 4.0])

    class Replaced(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            value = next(values)
            logs.update({name: value for name in logs if name.startswith("val_")})

    stopping = keras.callbacks.EarlyStopping("val_bits_per_dim", patience=2)
    saving = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "{epoch}.weights.h5"),
        monitor="val_kl", save_best_only=True, save_weights_only=True,
    )  # fmt: skip
    slower = keras.callbacks.ReduceLROnPlateau("val_reconstruction", patience=1, factor=0.5)
    callbacks = [Replaced(), stopping, saving, slower]
    history = model.fit(
        images, epochs=5, validation_split=0.5, batch_size=8, callbacks=callbacks, verbose=0
    ).history
    assert history["val_loss"] == [3.0, 1.0, 2.0, 2.5]  # two epochs after the lowest value
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.weights.h5", "2.weights.h5"]
    assert float(model.optimizer.learning_rate) == pytest.approx(2.5e-5)


def test_evaluation_uses_the_labels_that_it_gets(images):
    flow = tfgen.models.Glow((8, 8, 1), levels=1, depth=1, width=4, num_classes=3)
    flow.initialize(images)
    flow._class_prior.set_weights(
        [np.random.default_rng(0).normal(size=w.shape) for w in flow._class_prior.weights]
    )
    flow.compile("sgd")
    labels = np.arange(32) % 3
    for given in ((), (labels,)):
        found = flow.evaluate(images, *given, verbose=0, return_dict=True)
        expected = float(tf.reduce_mean(flow.bits_per_dim(images, *given)))
        assert found["bits_per_dim"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="class_weight is not supported"):
        flow.fit(images, labels, class_weight={0: 2.0})
