"""Kills a training at random moments with SIGKILL, resumes it each time, and compares the end.

python tools/kill_training.py --kills 20

The weights, the history and the figures must be those of a training that was left alone, bit by
bit, and no kill may cost more than the steps since the last checkpoint. Each training runs in a
fork of this process, which has imported TensorFlow and not used it.
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
SETTINGS = [
    *("epochs=40", "batch_size=100", "hidden_units=[16]", f"every_steps={INTERVAL}"),
    *("temporal_averaging=true", "decay=cosine", "warmup_steps=5", "weights=best"),
]


def train(directory):
    """A training or what is left of it, to its end."""
    if (directory / run_directory.PLAN).exists():
        run.resume(directory)
    else:
        run.run(recipe.load("vae-digits", SETTINGS), directory)


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


def killed_after(process, seconds):
    """The status of a process that is killed, or that ends before that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


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
    start = time.monotonic()
    if os.waitpid(started(whole), 0)[1]:
        raise SystemExit("the training that was left alone failed")
    longest = time.monotonic() - start
    steps, done = [], 0
    while done < kills:
        if (killed / "card.json").exists():  # finished before it could be killed: once more
            killed = folder / f"killed-{done}"
        before = saved_step(killed) if killed.exists() else 0
        process = started(killed)
        status = killed_after(process, chosen.uniform(0, longest))
        if os.WIFSIGNALED(status):
            done += 1
            now = saved_step(killed)
            if now < before:
                raise SystemExit(f"went back from step {before} to {now}")
            steps.append(now)
            print(f"kill {done}: the newest checkpoint is of step {now}", flush=True)
    if os.waitpid(started(killed), 0)[1] and not (killed / "card.json").exists():
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
