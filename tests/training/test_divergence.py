"""A training whose loss or weights become NaN or infinite ends with an error that locates it."""

import math

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.training import checkpoint, diagnosis, recipe, replicated, run
from tfgen.training.progress import ProgressBar
from tfgen.training.tensorboard import TensorBoard


def short(*settings):
    small = ["hidden_units=[16]", "optimizer.class=AdaMax", "use_ema=true", "decay=linear"]
    return recipe.load("vae-digits", ["epochs=3", "batch_size=200", *small, *settings])


def test_not_a_number(tmp_path, monkeypatch):
    """From step 10 on the loss is NaN: the error gives step, batch and place; step 9 is saved."""
    unscaled = ["decay=constant", "scale_to_run=false"]
    chosen = short("every_steps=5", *unscaled)
    run.train(short("steps=9", *unscaled), tmp_path / "good")
    good, _ = checkpoint.Checkpoints(tmp_path / "good" / "checkpoints").latest()
    poisoned_loss(monkeypatch, 9)
    with pytest.raises(InputError, match=r"diverged at step 10 \(epoch 2\)") as error:
        run.train(chosen, tmp_path / "run")
    data = tfgen.data.load("digits").with_validation(0.1)
    batch = data.stream("train", batch_size=200, seed=0).global_batch(9)
    assert f"the batch has SHA-256 {diagnosis.batch_hash(batch)}" in str(error.value)
    assert "in the log-likelihood" in str(error.value)
    kept, damaged = checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert not damaged
    assert kept.facts["step"] == 9
    for name, array in good.arrays.items():
        assert kept.arrays[name].tobytes() == array.tobytes()
    with pytest.raises(InputError, match="diverged at step 10"):
        run.resume(tmp_path / "run")


def test_weights_that_are_not_numbers_are_not_saved(tmp_path):
    """The update of the last step overflows: its loss, of the weights before, is finite."""
    chosen = short("steps=3", "optimizer.class=Adam", "learning_rate=1e39")
    with pytest.raises(InputError, match=r"diverged at step 1 .*the optimizer's update of"):
        run.train(chosen, tmp_path / "run")
    kept, _ = checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert kept.facts["step"] == 0
    assert all(np.isfinite(array).all() for array in kept.arrays.values())


def test_workers_that_share_no_directory_get_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(replicated, "worker_count", lambda strategy: 2)
    other = -1.0  # the other worker finds no checkpoint

    def mean(self, value):
        return (value + other**2) / 2 if value == 25.0 else (value + other) / 2

    monkeypatch.setattr(replicated.Replicated, "mean", mean)
    poisoned_loss(monkeypatch, 6)
    ended = ended_callbacks(monkeypatch)
    with pytest.raises(InputError, match=r"diverged at step 7; .*not all workers see the check"):
        run.train(short("every_steps=5"), tmp_path / "run")
    assert ended == [ProgressBar, TensorBoard]


def test_a_device_whose_results_are_not_reproducible_gets_an_error(tmp_path, monkeypatch):
    train, taken = replicated.Replicated.train, [0]

    def once_bad(self, *arguments, **options):
        found = train(self, *arguments, **options)
        before = taken[0]
        taken[0] += len(found.steps)
        if before < 7 <= taken[0]:
            found.steps[-1] = replicated.Sums(math.nan, found.steps[-1].images)
        return found

    monkeypatch.setattr(replicated.Replicated, "train", once_bad)
    ended = ended_callbacks(monkeypatch)
    with pytest.raises(InputError, match="the device does not compute the same result twice"):
        run.train(short("every_steps=5"), tmp_path / "run")
    assert ended == [ProgressBar, TensorBoard]


def ended_callbacks(monkeypatch):
    """The list of the classes of callbacks whose `on_train_end` has been called."""
    ended = []
    for callback in (ProgressBar, TensorBoard):

        def note(self, logs=None, end=callback.on_train_end):
            ended.append(type(self))
            end(self, logs)

        monkeypatch.setattr(callback, "on_train_end", note)
    return ended


def poisoned_loss(monkeypatch, step):
    loss = tfgen.models.VAE._training_loss

    def poisoned(self, images, labels, noise):
        nats, losses, parts = loss(self, images, labels, noise)
        bad = tf.where(self.optimizer._iterations >= step, np.nan, 1.0)
        return nats * bad, losses * bad, parts

    monkeypatch.setattr(tfgen.models.VAE, "_training_loss", poisoned)
