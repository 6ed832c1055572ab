"""Keras' callbacks work in the training loop as in `fit`; tfgen's are Keras callbacks."""

import csv
import os
import signal

import keras
import numpy as np
import pytest

import tfgen
from tfgen.optimizers import average_of
from tfgen.training import final_weights, recipe, run
from tfgen.training.callbacks import LoopCallback
from tfgen.training.curve import Curve
from tfgen.training.progress import ProgressBar
from tfgen.training.signals import StoppedError
from tfgen.training.tensorboard import TensorBoard, read_history


def short(*settings):
    return recipe.load("vae-digits", ["epochs=3", "batch_size=500", "hidden_units=[8]", *settings])


class Events(keras.callbacks.Callback):
    """Records every call, except that it only keeps the last of the calls for single batches."""

    def __init__(self):
        super().__init__()
        self.calls, self.batches = [], []

    def on_train_begin(self, logs=None):
        self.calls.append("train begins")
        assert self.model.optimizer is not None
        assert self.params["epochs"] == 3
        assert self.params["steps"] == 3

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} begins")

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)
        assert np.isfinite(logs["bits_per_dim"])

    def on_test_begin(self, logs=None):
        self.calls.append("test begins")

    def on_test_end(self, logs=None):
        self.calls.append("test ends")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} ends")
        assert set(logs) == {"bits_per_dim", "val_bits_per_dim", "learning_rate"}

    def on_train_end(self, logs=None):
        self.calls.append("train ends")


def epoch(number):
    return [f"epoch {number} begins", "test begins", "test ends", f"epoch {number} ends"]


def test_keras_callbacks_are_called_as_by_fit(tmp_path):
    events, history = Events(), keras.callbacks.History()
    out = run.train(
        short("use_ema=true"),
        tmp_path / "run",
        callbacks=[
            events,
            history,
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.ModelCheckpoint(
                tmp_path / "{epoch}.weights.h5", save_weights_only=True
            ),
            keras.callbacks.TensorBoard(tmp_path / "logs", write_graph=False),
        ],
    )
    assert events.calls == ["train begins", *epoch(0), *epoch(1), *epoch(2), "train ends"]
    assert [batch for batch in events.batches if batch == 2] == [2, 2, 2]
    records = read_history(out / "logs" / "history.csv")
    for key, values in history.history.items():
        assert values == [record[key] for record in records]
    with open(tmp_path / "log.csv", newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert [row["val_bits_per_dim"] for row in rows] == history.history["val_bits_per_dim"]
    assert (tmp_path / "3.weights.h5").exists()
    assert list((tmp_path / "logs" / "train").iterdir())


def test_a_callback_can_end_the_training(tmp_path):
    stopping = keras.callbacks.EarlyStopping("val_bits_per_dim", min_delta=100.0, patience=1)
    out = run.train(short("epochs=9"), tmp_path / "run", callbacks=[stopping])
    card = tfgen.zoo.card(out)
    assert card["training"]["steps"] == 6  # Nothing improves by 100 bits/dim.
    assert [record["step"] for record in read_history(out / "logs" / "history.csv")] == [3, 6]


def test_a_training_ended_within_an_epoch_is_recorded_and_validated(tmp_path):
    def end_at_once(batch, logs):
        ending.model.stop_training = True

    ending = keras.callbacks.LambdaCallback(on_train_batch_end=end_at_once)
    out = run.train(short(), tmp_path / "run", callbacks=[ending])
    (record,) = read_history(out / "logs" / "history.csv")
    assert record["step"] == 1
    assert np.isfinite(record["val_bits_per_dim"])


def test_after_a_resumption_epochs_are_counted_from_the_start(tmp_path):
    class Stopping(LoopCallback):
        def on_train_batch_end(self, batch, logs=None):
            if self.loop.step >= 4:
                os.kill(os.getpid(), signal.SIGTERM)

    stopping, events = Stopping(), Events()
    with pytest.raises(StoppedError):
        run.train(short("every_steps=1"), tmp_path / "run", callbacks=[stopping])
    run.resume(tmp_path / "run", callbacks=[events])
    assert events.calls == ["train begins", *epoch(1), *epoch(2), "train ends"]


def test_callbacks_end_after_an_error_too(tmp_path):
    class Failing(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("mine")

    events = Events()
    with pytest.raises(RuntimeError, match="mine"):
        run.train(short(), tmp_path / "run", callbacks=[events, Failing()])
    assert events.calls[-1] == "train ends"


def test_a_callback_sees_the_averages_of_the_optimizer(tmp_path, monkeypatch):
    monkeypatch.setattr(
        final_weights, "_bits", lambda model, images: 1.0
    )  # not worse than the last
    averages = []

    class Reading(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            optimizer, weights = self.model.optimizer, self.model.trainable_variables
            averages.extend(average_of(optimizer, weight).numpy() for weight in weights)

    out = run.train(short("temporal_averaging=true"), tmp_path / "run", callbacks=[Reading()])
    saved = tfgen.zoo.load(out).trainable_variables
    for average, weight in zip(averages, saved, strict=True):
        np.testing.assert_array_equal(weight.numpy(), average)


@pytest.mark.parametrize("callback", [Curve, ProgressBar, TensorBoard])
def test_tfgens_callbacks_are_keras_callbacks(callback):
    assert issubclass(callback, LoopCallback)
    assert issubclass(callback, keras.callbacks.Callback)
