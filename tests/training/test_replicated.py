"""Grouping steps into calls changes no bit; calls end where the loop has to act."""

import math

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.training import curve, state, strategy
from tfgen.training.callbacks import LoopCallback
from tfgen.training.checkpoint import Checkpoints
from tfgen.training.loop import Loop
from tfgen.training.replicated import Replicated

BATCH = 100  # 14 and a smaller one in an epoch


@pytest.fixture(scope="module")
def stream():
    return tfgen.data.load("digits").stream("train", batch_size=BATCH, seed=0)


def compiled(distribution):
    with distribution.scope():
        model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[8])
        for number, weight in enumerate(model.trainable_weights):
            values = np.random.default_rng(number).normal(size=weight.shape, scale=0.2)
            weight.assign(values.astype("float32"))
        model.compile(tfgen.optimizers.Adam(1e-2, temporal_averaging=True), seed=0)
    return model


@pytest.mark.parametrize("devices", [1, 2])
def test_groups_of_steps_give_the_bits_of_single_steps(devices, stream):
    distribution = tf.distribute.get_strategy()
    if devices == 2:
        distribution = strategy.choose("mirrored", "cpu:2")
    model = compiled(distribution)
    replicated = Replicated(model, distribution)
    start, outcomes = state.arrays_of(model), []
    for groups in ([1] * 17, [17], [2, 9, 1, 5]):
        state.assign(model, start)
        batches, found = replicated.batches(stream), []
        for steps in groups:
            found += replicated.train(batches, steps).steps
        assert [step.images for step in found] == [*[100.0] * 14, 37.0, 100.0, 100.0]
        arrays = {name: array.tobytes() for name, array in state.arrays_of(model).items()}
        outcomes.append((found, arrays))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][1].keys() == start.keys()


def test_a_call_ends_at_a_value_that_is_not_finite_or_a_request_to_stop(stream, monkeypatch):
    model = compiled(tf.distribute.get_strategy())
    loss = model._training_loss

    def poisoned(images, labels, noise):
        bad = tf.where(model.optimizer._iterations >= 4, np.nan, 1.0)
        return tf.nest.map_structure(lambda values: values * bad, loss(images, labels, noise))

    monkeypatch.setattr(model, "_training_loss", poisoned)
    replicated = Replicated(model, tf.distribute.get_strategy())
    batches = replicated.batches(stream)
    found = replicated.train(batches, 3, stop=True, seconds_per_step=0.25)
    assert (len(found.steps), found.stop, found.seconds_per_step) == (1, True, 0.25)
    found = replicated.train(batches, 9)
    assert [math.isnan(step.nll) for step in found.steps] == [False] * 3 + [True]
    assert not found.stop


def test_workers_detect_whether_they_agree(monkeypatch):
    replicated = Replicated(compiled(tf.distribute.get_strategy()), tf.distribute.get_strategy())
    assert replicated.agree(-1)  # alone
    replicated.alone = False
    for others, same in (([7, 7], True), ([5, 9], False), ([-1, 7], False), ([7, -1], False)):

        def mean(value, others=others):
            power = 1 if value == 7 else 2
            return (value + sum(float(other) ** power for other in others)) / 3

        monkeypatch.setattr(replicated, "mean", mean)
        assert replicated.agree(7) == same


class Notes(LoopCallback):
    def __init__(self):
        super().__init__()
        self.calls, self.saves = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(self.loop.step)

    def on_save(self):
        self.saves.append(self.loop.step)


def test_records_and_checkpoints_come_at_their_steps_and_calls_are_fewer(stream, tmp_path):
    notes, drawn = Notes(), curve.Curve(tmp_path / "curve.png")
    model = compiled(tf.distribute.get_strategy())
    loop = Loop(
        model,
        tf.distribute.get_strategy(),
        stream,
        stream,
        40,
        Checkpoints(tmp_path / "checkpoints"),
        every_steps=12,
        callbacks=[notes, drawn],
    )
    loop.run()
    assert [record["step"] for record in loop.history] == [15, 30, 40]
    assert notes.saves == [12, 24, 36, 40]
    assert {12, 15, 24, 30, 36, 40} <= set(notes.calls)
    assert len(notes.calls) < 40
    assert not (tmp_path / "curve.png").exists()  # no half minute has passed


def test_the_curve_is_drawn_after_a_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(curve, "SECONDS_BETWEEN_CURVES", 0.0)
    path, drawn = tmp_path / "curve.png", []
    monkeypatch.setattr(curve, "draw", lambda history, file: drawn.append((history, file)))

    class AtAStep:
        history = ({"epoch": 0.5, "bits_per_dim": 2.0},)

    callback = curve.Curve(path)
    callback.loop = AtAStep
    callback.on_train_begin()
    callback.on_epoch_end(0, {"bits_per_dim": 2.0})
    assert not drawn
    callback.on_epoch_end(1, {"bits_per_dim": 2.0, "val_bits_per_dim": 2.1})
    assert drawn == [(AtAStep.history, path)]
