"""The end of training: a disk that is full, and signals that arrive late."""

import errno
import os
import signal

import pytest

import tfgen
from tfgen.cli.interruption import SignalError
from tfgen.errors import InputError
from tfgen.training import finished, recipe, run
from tfgen.training.checkpoint import Checkpoints
from tfgen.training.tensorboard import TensorBoard


def short():
    return recipe.load("vae-digits", ["epochs=1", "hidden_units=[16]"])


def test_a_disk_without_space_for_any_checkpoint_loses_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "step.ckpt")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full)
        with pytest.raises(InputError, match=r"step.ckpt: No space left .*--resume --out") as error:
            run.train(short(), tmp_path / "run")
    assert "stopped at step 21 of 21; no checkpoint is saved" in str(error.value)
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    assert list((tmp_path / "run" / "logs").glob("*/events*"))
    out = run.resume(tmp_path / "run")
    assert tfgen.zoo.card(out)["training"]["steps"] == 21


@pytest.mark.parametrize("phase", ["the last save", "the last callbacks", "writing the model"])
def test_a_signal_at_the_end_of_training_is_not_ignored(phase, tmp_path, monkeypatch):
    def send(*args, **options):
        signal.raise_signal(signal.SIGTERM)

    def stop(number, frame):
        raise SignalError(number)

    place = {
        "the last save": (TensorBoard, "on_save"),
        "the last callbacks": (TensorBoard, "on_train_end"),
        "writing the model": (finished, "write"),
    }[phase]
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(*place, send)
            with pytest.raises(KeyboardInterrupt) as stopped:
                run.train(short(), tmp_path / "run")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert "resume with: tfgen-train --resume --out" in str(stopped.value)
    assert "stopped at step 21 of 21" in str(stopped.value)
    out = run.resume(tmp_path / "run")
    assert tfgen.zoo.card(out)["training"]["steps"] == 21
