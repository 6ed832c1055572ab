"""A training that is stopped or killed resumes to the result of an uninterrupted one."""

import errno
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import tfgen
from tfgen.data.augmentation import Augmentation
from tfgen.errors import InputError
from tfgen.training import budget, checkpoint, recipe, run, run_directory
from tfgen.training.loop import Loop
from tfgen.training.signals import StoppedError
from tfgen.training.tensorboard import read_history

SETTINGS = {
    "glow-digits": [
        *("width=8", "depth=1", "temporal_averaging=true", "global_clipnorm=50"),
        *("decay=cosine", "warmup_steps=10", "shift=1", "flip=true", "weights=best"),
    ],
    "vae-digits": ["hidden_units=[16]", "optimizer.class=AdaMax", "use_ema=true", "decay=linear"],
}


def short(name, *settings):
    return recipe.load(name, ["epochs=3", "batch_size=200", *SETTINGS[name], *settings])


def outcome(directory):
    """The parts of a finished run that must not depend on interruptions."""
    card = tfgen.zoo.card(directory)
    pictures = {name: digest for name, digest in card["files"].items() if name.endswith(".png")}
    weights = [weight.tobytes() for weight in tfgen.zoo.load(directory).get_weights()]
    history = (directory / "logs" / "history.csv").read_text()
    state, _ = checkpoint.Checkpoints(directory / "checkpoints").latest()
    arrays = {name: array.tobytes() for name, array in state.arrays.items()}
    best = checkpoint.Checkpoints(directory / "checkpoints").best()
    return pictures, weights, history, card["metrics"], arrays, best.facts, state.facts["history"]


def stop_at(monkeypatch, steps, number=signal.SIGTERM):
    """The process gets a signal during the call that ends with each of these steps."""
    take_steps = Loop.take_steps

    def stopping(self, batches, most, stop=False):
        upto = min((step for step in steps if step > self.step), default=self.total_steps)
        result = take_steps(self, batches, min(most, upto - self.step), stop)
        if self.step in steps:
            steps.remove(self.step)
            os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(Loop, "take_steps", stopping)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A function that trains a recipe without interruption, the same one only once."""

    @functools.cache
    def train(name, devices=None):
        out = tmp_path_factory.mktemp("whole") / name
        return run.train(short(name), out, devices=devices)

    return train


@pytest.mark.parametrize(
    ("name", "devices", "stops"),
    [
        ("glow-digits", None, [1, 14]),
        ("vae-digits", None, [1, 9, 14]),
        ("vae-digits", "cpu:2", [1, 14]),
    ],
)
def test_a_stopped_training_ends_with_the_bits_of_an_uninterrupted_one(
    name, devices, stops, whole, tmp_path, monkeypatch
):
    expected = outcome(whole(name, devices))
    stop_at(monkeypatch, list(stops))
    with pytest.raises(StoppedError) as stopped:
        run.train(short(name), tmp_path / "stopped", devices=devices)
    for _ in stops[1:]:
        with pytest.raises(StoppedError):
            run.resume(tmp_path / "stopped")
    again = run.resume(tmp_path / "stopped")
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert f"tfgen-train --resume --out {tmp_path / 'stopped'}" in str(stopped.value)
    for found, same in zip(outcome(again), expected, strict=True):
        assert found == same


@pytest.mark.parametrize("checkpoints", [0, 1])
def test_a_resumed_training_began_with_the_same_initial_weights(checkpoints, tmp_path, monkeypatch):
    tfgen.models.VAE((8, 8, 1), latent_dim=8, hidden_units=[16]).save_preset(tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    whole = run.train(short("vae-digits"), tmp_path / "whole", initial="first")
    stop_at(monkeypatch, [9])
    with pytest.raises(StoppedError):
        run.train(short("vae-digits"), tmp_path / "stopped", initial="first")
    if not checkpoints:  # as if it had been killed before its first checkpoint
        for path in (tmp_path / "stopped" / "checkpoints").glob("*.ckpt"):
            path.unlink()
    monkeypatch.chdir("/")
    again = run.resume(tmp_path / "stopped")
    for found, expected in zip(outcome(again), outcome(whole), strict=True):
        assert found == expected
    cards = [tfgen.zoo.card(directory)["training"] for directory in (again, whole)]
    assert cards[0]["initial_weights"] == cards[1]["initial_weights"]


def test_a_training_is_resumed_from_anywhere(tmp_path, monkeypatch):
    """Its paths are relative to the directory in which it was started."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, image in enumerate(tfgen.data.load("digits").images("train")[:20]):
        Image.fromarray(image[..., 0]).save(photos / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    chosen = short("vae-digits", "data.source=photos", "batch_size=4", "hidden_units=[8]")
    stop_at(monkeypatch, [3])
    with pytest.raises(StoppedError):
        run.train(chosen, "run", data_dir="mnist")
    places = []
    load = tfgen.data.load
    monkeypatch.setattr(
        tfgen.data, "load", lambda *a, **o: places.append(o["data_dir"]) or load(*a, **o)
    )
    (tmp_path / "elsewhere" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    stop_at(monkeypatch, [5])
    with pytest.raises(StoppedError):
        run.resume(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "elsewhere" / "run")
    card = tfgen.zoo.card(run.resume(tmp_path / "run", data_dir=".."))
    assert places == [str(tmp_path / "mnist"), str(tmp_path / "elsewhere")]
    assert card["data"]["name"] == card["recipe"]["data"]["source"] == "photos"


def test_a_training_is_not_resumed_from_other_initial_weights(tmp_path, monkeypatch):
    for name in ("first", "other"):
        model = tfgen.models.VAE((8, 8, 1), latent_dim=8, hidden_units=[16])
        model.save_preset(tmp_path / name)
    stop_at(monkeypatch, [9])
    with pytest.raises(StoppedError):
        run.train(short("vae-digits"), tmp_path / "run", initial=tmp_path / "first")
    for path in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        path.unlink()
    (tmp_path / "first").rename(tmp_path / "mine")
    (tmp_path / "other").rename(tmp_path / "first")
    with pytest.raises(
        InputError, match=r"first contains other with.*but the run began with.*first"
    ):
        run.resume(tmp_path / "run")
    (tmp_path / "first").rename(tmp_path / "other")
    (tmp_path / "mine").rename(tmp_path / "first")
    assert run.resume(tmp_path / "run") == tmp_path / "run"


def test_ctrl_c_saves_too_and_a_second_one_leaves_at_once(tmp_path, monkeypatch):
    stop_at(monkeypatch, [3], signal.SIGINT)
    with pytest.raises(StoppedError, match=r"stopped at step 3 of 21 and saved") as stopped:
        run.train(short("vae-digits"), tmp_path / "run")
    assert stopped.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    stop_at(monkeypatch, [4], signal.SIGINT)
    stop_at(monkeypatch, [4], signal.SIGINT)
    with pytest.raises(StoppedError, match="at step 4 of 21 but saved at step 3; resume with:"):
        run.resume(tmp_path / "run")
    assert run.resume(tmp_path / "run") == tmp_path / "run"


def test_a_run_with_a_damaged_checkpoint_resumes_from_the_previous_one(
    whole, tmp_path, monkeypatch, capsys
):
    expected = outcome(whole("vae-digits"))
    stop_at(monkeypatch, [10])
    with pytest.raises(StoppedError):
        run.train(short("vae-digits", "every_steps=4"), tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step-000000000010.ckpt"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    again = run.resume(tmp_path / "run")
    output = capsys.readouterr().out
    assert "step-000000000010.ckpt is damaged (its content is not what was written" in output
    assert "resumed at step 8 of 21" in output
    for found, same in zip(outcome(again), expected, strict=True):
        assert found == same
    for path in checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").paths():
        path.write_bytes(b"")
    (tmp_path / "run" / "card.json").unlink()
    with pytest.raises(InputError, match=r"contains no checkpoint; step-.*it is not a checkpoint"):
        run.resume(tmp_path / "run")


def test_a_full_disk_does_not_end_the_training(tmp_path, monkeypatch, capsys):
    """Saving fails twice, then there is space again; earlier checkpoints are kept meanwhile."""
    flush, refusals, kept = os.fsync, [], []

    def full(handle):
        if 4 < len(seen) <= 6:
            refusals.append(handle)
            kept.append(checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").latest())
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    seen = []
    write = checkpoint.write

    def counting(path, state):
        seen.append(path)
        write(path, state)

    monkeypatch.setattr(checkpoint, "write", counting)
    monkeypatch.setattr(checkpoint.os, "fsync", full)
    out = run.train(short("vae-digits", "every_steps=2", "data.validation=0"), tmp_path / "run")
    assert len(refusals) == 2
    assert [(state.facts["step"], damaged) for state, damaged in kept] == [(8, []), (8, [])]
    assert capsys.readouterr().out.count("no checkpoint: No space left on device") == 2
    assert not list((out / "checkpoints").glob(".*"))


def test_a_disk_that_stays_full_ends_with_its_error_and_can_be_resumed(
    whole, tmp_path, monkeypatch
):
    expected = outcome(whole("vae-digits"))
    stop_at(monkeypatch, [5])
    with pytest.raises(StoppedError):
        run.train(short("vae-digits"), tmp_path / "run")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(InputError, match=r"ckpt: No space left on device; .* --resume --out"):
            run.resume(tmp_path / "run")
    again = run.resume(tmp_path / "run")
    assert outcome(again) == expected


def test_resuming_what_cannot_be_resumed(tmp_path):
    with pytest.raises(InputError, match="there is no run to resume"):
        run.resume(tmp_path)
    done = run.train(short("vae-digits", "epochs=1"), tmp_path / "done")
    with pytest.raises(InputError, match="this run is finished"):
        run.resume(done)


def test_an_unfinished_run_is_neither_overwritten_nor_used_by_two_processes(tmp_path, monkeypatch):
    stop_at(monkeypatch, [2])
    with pytest.raises(StoppedError):
        run.train(short("vae-digits"), tmp_path / "run")
    with pytest.raises(InputError, match=r"contains an unfinished run: .*--resume"):
        run.train(short("vae-digits"), tmp_path / "run")
    with (
        run_directory.claimed_again(tmp_path / "run"),
        pytest.raises(InputError, match="being written by another run"),
    ):
        run.resume(tmp_path / "run")


def test_a_checkpoint_of_another_model_is_refused(tmp_path, monkeypatch):
    stop_at(monkeypatch, [2])
    with pytest.raises(StoppedError):
        run.train(short("vae-digits"), tmp_path / "run")
    plan = tmp_path / "run" / "checkpoints" / "run.json"
    other = json.loads(plan.read_text())
    other["recipe"]["model"]["hidden_units"] = [17]
    plan.write_text(json.dumps(other))
    message = r"to another recipe: model/vae_enc.*/kernel has shape \(64, 16\), not \(64, 17"
    with pytest.raises(InputError, match=message):
        run.resume(tmp_path / "run")


def test_hours_are_converted_to_steps_only_once(tmp_path, monkeypatch, capsys):
    chosen = recipe.load("vae-digits", ["hours=0.002", "hidden_units=[8]", "decay=cosine"])

    def plan(setup, loop, hours, begun):
        loop.time_of_a_step(0.2)
        return budget.Budget(hours, preparation=1.0, step=0.01, evaluation=1.0, steps=90)

    monkeypatch.setattr(budget, "plan", plan)
    stop_at(monkeypatch, [12])  # the measurement does not count
    with pytest.raises(StoppedError) as stopped:
        run.train(chosen, tmp_path / "run")
    out = run.resume(tmp_path / "run")
    card = tfgen.zoo.card(out)
    steps = card["training"]["steps"]
    assert f"stopped at step 12 of {steps:,}" in str(stopped.value)
    assert card["recipe"]["training"]["steps"] == steps
    assert card["recipe"]["training"]["hours"] is None
    again = recipe.load("vae-digits", [f"steps={steps}", "hidden_units=[8]", "decay=cosine"])
    same = run.train(again, tmp_path / "same")
    assert outcome(same) == outcome(out)
    rates = [record["learning_rate"] for record in read_history(out / "logs" / "history.csv")]
    assert rates[-1] == pytest.approx(1e-5, rel=1e-3)


def test_augmented_images_are_what_is_trained_on():
    """The stream of a recipe's augmentation differs from the plain one, in every batch."""
    data = tfgen.data.load("digits")
    plain = data.stream("train", batch_size=64)
    changed = data.stream("train", batch_size=64, augmentation=Augmentation(shift=2))
    for step in (0, 1, 30):
        assert (plain.global_batch(step).numpy() != changed.global_batch(step).numpy()).any()


@pytest.mark.slow
def test_a_killed_training_ends_with_the_bits_of_an_uninterrupted_one():
    """SIGKILL at random moments; the tool's default is 20 of them."""
    tool = Path(__file__).parents[2] / "tools" / "kill_training.py"
    words = [sys.executable, str(tool), "--kills", "3"]
    result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert result.stdout.count("the newest checkpoint is from step") == 3
    assert "identical, bit for bit" in result.stdout
