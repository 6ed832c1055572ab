"""Kills a training at random moments with SIGKILL, resumes it each time, and compares the end.

python tools/kill_training.py --kills 20

The weights, the history and the figures must be those of a training that was left alone, bit by
bit, and no kill may cost more than the steps since the last checkpoint. One kill in four comes at
any moment before the first new checkpoint, the others at any moment after it, while steps are taken
and checkpoints are written. Each training runs in a fork of this process, which has imported
TensorFlow and not used it.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfgen.training import checkpoint, recipe, run, run_directory

INTERVAL = 5  # steps
LONGEST = 300.0  # seconds that a training may take
SETTINGS = [
    *("epochs=25", "batch_size=100", "hidden_units=[16]", f"every_steps={INTERVAL}"),
    *("temporal_averaging=true", "decay=cosine", "warmup_steps=5", "weights=best"),
]


def train(directory):
    """A training or what is left of it, to its end."""
    if (directory / run_directory.PLAN).exists():
        run.resume(directory)
    else:
        run.train(recipe.load("vae-digits", SETTINGS), directory)


def started(directory):
    """The process id of a fork that trains, its output thrown away."""
    process = os.fork()
    if process:
        return process
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        train(directory)
    except BaseException:
        os._exit(1)
    os._exit(0)


def ended(process, until=lambda: False, seconds=LONGEST):
    """The status of a process that has ended; None if `until()` came true first, or time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return status
        time.sleep(0.002)
    return None


def kill(process):
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def to_the_end(process, what):
    status = ended(process)
    if status is None:
        kill(process)
        raise SystemExit(f"{what} did not end in {LONGEST} seconds")
    return status


def newest(directory):
    """The name of the newest checkpoint, "" before the first."""
    paths = checkpoint.Checkpoints(directory / run_directory.CHECKPOINTS).paths()
    return paths[0].stem if paths else ""


def step_of(name):
    return int(name.removeprefix("step-") or 0)


def saved_step(directory):
    state, damaged = checkpoint.Checkpoints(directory / run_directory.CHECKPOINTS).latest()
    if damaged:
        raise SystemExit(f"damaged: {damaged}")
    return state.facts["step"] if state else 0


def outcome(directory):
    card = json.loads((directory / "card.json").read_text())
    files = {name: digest for name, digest in card["files"].items() if name != "README.md"}
    return files, card["metrics"], (directory / "logs" / "history.csv").read_text()


def kill_and_compare(folder, kills, seed=0):
    """Kills, the steps at which they met the training, and whether the end is the same."""
    chosen = random.Random(seed)
    whole, killed = folder / "whole", folder / "killed"
    process, start = started(whole), time.monotonic()
    ended(process, lambda: newest(whole))
    preparing, start = time.monotonic() - start, time.monotonic()
    if to_the_end(process, "the training that was left alone"):
        raise SystemExit("the training that was left alone failed")
    stepping = time.monotonic() - start
    steps, done = [], 0
    while done < kills:
        if (killed / "card.json").exists():  # finished before it could be killed: once more
            killed = folder / f"killed-{done}"
        before = newest(killed)
        process = started(killed)
        if chosen.random() < 0.25:
            status = ended(process, seconds=chosen.uniform(0, preparing))
        else:
            status = ended(process, lambda now=killed, then=before: newest(now) != then)
            if status is None:
                status = ended(process, seconds=chosen.uniform(0, stepping / 2))
        if status is not None:
            continue
        kill(process)
        done += 1
        now = saved_step(killed)
        if now < step_of(before):
            raise SystemExit(f"went back from step {step_of(before)} to {now}")
        steps.append(now)
        print(f"kill {done}: the newest checkpoint is of step {now}", flush=True)
    if not (killed / "card.json").exists():
        to_the_end(started(killed), "the training that was killed")
    if not (killed / "card.json").exists():
        raise SystemExit("the training that was killed cannot be resumed")
    return steps, outcome(killed) == outcome(whole)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps, same = kill_and_compare(Path(folder), options.kills)
    print(f"{options.kills} kills; the end is {'the same, bit by bit' if same else 'ANOTHER'}")
    sys.exit(not same)
