"""Kills training at random moments with SIGKILL, resumes it each time, and compares the result.

python tools/kill_training.py --kills 20

The weights, the history and the metrics must equal those of an uninterrupted run, bit for bit,
and no kill may lose more than the steps since the last checkpoint. One kill in four happens before
the first new checkpoint, the others after it, while steps are taken and checkpoints are written.
Each run is a fork of this process, which has imported TensorFlow but not used it.
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
LONGEST = 300.0  # seconds that a run may take
SETTINGS = [
    *("epochs=25", "batch_size=100", "hidden_units=[16]", f"every_steps={INTERVAL}"),
    *("temporal_averaging=true", "decay=cosine", "warmup_steps=5", "weights=best"),
]


def train(directory):
    """Start a run or resume it, until it ends."""
    if (directory / run_directory.PLAN).exists():
        run.resume(directory)
    else:
        run.train(recipe.load("vae-digits", SETTINGS), directory)


def started(directory):
    """The process id of a fork that trains; its output is discarded."""
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
    """The exit status of a process; None if `until()` became true first, or on a time-out."""
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


def exit_status(process, what):
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
    """Kill a run; return the steps at which it was killed, and whether the result is the same."""
    generator = random.Random(seed)
    whole, killed = folder / "whole", folder / "killed"
    process, start = started(whole), time.monotonic()
    ended(process, lambda: newest(whole))
    preparing, start = time.monotonic() - start, time.monotonic()
    if exit_status(process, "the uninterrupted training"):
        raise SystemExit("the uninterrupted training failed")
    stepping = time.monotonic() - start
    steps, done = [], 0
    while done < kills:
        if (killed / "card.json").exists():  # it finished before it could be killed: start another
            killed = folder / f"killed-{done}"
        before = newest(killed)
        process = started(killed)
        if generator.random() < 0.25:
            status = ended(process, seconds=generator.uniform(0, preparing))
        else:
            status = ended(process, lambda now=killed, then=before: newest(now) != then)
            if status is None:
                status = ended(process, seconds=generator.uniform(0, stepping / 2))
        if status is not None:
            continue
        kill(process)
        done += 1
        now = saved_step(killed)
        if now < step_of(before):
            raise SystemExit(f"lost steps: {now} after {step_of(before)}")
        steps.append(now)
        print(f"kill {done}: the newest checkpoint is from step {now}", flush=True)
    if not (killed / "card.json").exists():
        exit_status(started(killed), "the killed training")
    if not (killed / "card.json").exists():
        raise SystemExit("the killed training cannot be resumed")
    return steps, outcome(killed) == outcome(whole)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps, same = kill_and_compare(Path(folder), options.kills)
    print(
        f"{options.kills} kills; the result is {'identical, bit for bit' if same else 'DIFFERENT'}"
    )
    sys.exit(not same)
