"""Flows on two moons: the mean log-density of test points, compared with zuko's NSF.

    python tools/bench_two_moons.py [--zuko-python PATH] [--schedule cosine] [--flows spline ...]

`tfgen.bijectors.Flow` of spline couplings, of eight `GlowStep`s and of masked autoregressive steps,
and `zuko.flows.NSF(features=2)` with its defaults (`pip install zuko`), in one run: the same
20,000 training and 10,000 test points of `sklearn.datasets.make_moons` with noise 0.05, each
coordinate standardized by the training points; for each of 5 seeds the same 2,000 batches of 256;
Adam with learning rate 1e-3, with cosine decay or constant. Prints a Markdown table with mean and
standard error over the seeds, in nats; higher is better.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import make_moons

from tfgen import bijectors
from tfgen.optimizers import Adam

TRAIN, TEST, STEPS, BATCH, NOISE = 20_000, 10_000, 2_000, 256, 0.05


def spline(steps=6, width=64, num_bins=8, tail_bound=5.0):
    """Spline couplings, each after an actnorm and a reversal of the coordinates."""
    parts = []
    for i in range(steps):
        parts += [
            bijectors.ActNorm((2,), name=f"actnorm{i}"),
            bijectors.Permutation((2,), kind="reverse", name=f"reverse{i}"),
            bijectors.RationalQuadraticCoupling(
                (2,), num_bins=num_bins, tail_bound=tail_bound, width=width, name=f"coupling{i}"
            ),
        ]
    return parts


def glow(steps=8, width=64):
    """Steps of Glow."""
    return [bijectors.GlowStep((2,), width=width, name=f"step{i}") for i in range(steps)]


def autoregressive(steps=8, width=64):
    """Masked autoregressive steps in alternating orders."""
    parts = []
    for i in range(steps):
        parts += [
            bijectors.ActNorm((2,), name=f"actnorm{i}"),
            bijectors.MaskedAutoregressive((2,), width=width, name=f"step{i}"),
            bijectors.Permutation((2,), kind="reverse", name=f"reverse{i}"),
        ]
    return parts


FLOWS = {"spline": spline, "glow": glow, "autoregressive": autoregressive}


def sample(seeds, steps):
    points = make_moons(TRAIN + TEST, noise=NOISE, random_state=0)[0].astype("float32")
    mean, deviation = points[:TRAIN].mean(0), points[:TRAIN].std(0)
    points = (points - mean) / deviation
    data = {"train": points[:TRAIN], "test": points[TRAIN:]}
    for seed in seeds:
        rows = np.random.default_rng(seed).integers(0, TRAIN, (steps, BATCH))
        data[f"batches_{seed}"] = rows
    return data


def test_log_prob(build, data, seed, learning_rate, decay):
    keras.utils.set_random_seed(seed)
    flow = bijectors.Flow(build())
    rows = data[f"batches_{seed}"]
    if decay:
        learning_rate = keras.optimizers.schedules.CosineDecay(learning_rate, len(rows))
    flow.compile(Adam(learning_rate), steps_per_execution=100)
    train = tf.constant(data["train"])
    batches = tf.data.Dataset.from_tensor_slices(rows).map(lambda one: tf.gather(train, one))
    flow.fit(batches, epochs=1, shuffle=False, verbose=0)
    return float(np.mean(flow.log_prob(data["test"])))


def run_zuko(python, data, learning_rate, schedule, threads):
    script = Path(__file__).with_name("bench_two_moons_zuko.py")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "two_moons.npz"
        np.savez(file, **data)
        command = [python, script, file, str(learning_rate), schedule, str(threads)]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


def row(name, values, seconds):
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    each = " ".join(f"{value:.3f}" for value in values)
    print(f"| {name} | {np.mean(values):.3f} ± {error:.3f} | {each} | {seconds:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flows", nargs="*", choices=FLOWS, default=list(FLOWS))
    parser.add_argument("--zuko-python", help="a Python that has zuko; by default this one")
    parser.add_argument("--no-zuko", action="store_true", help="omit zuko")
    parser.add_argument("--schedule", choices=["constant", "cosine"], default="cosine")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    data = sample(seeds, options.steps)
    print(f"{options.schedule} learning rate {options.learning_rate}, {options.steps} steps\n")
    print("| flow | log p of test points, nats | of each seed | seconds |\n|---|---|---|---|")
    rate, decay = options.learning_rate, options.schedule == "cosine"
    if not options.no_zuko:
        start = time.perf_counter()
        python = options.zuko_python or sys.executable
        found = run_zuko(python, data, rate, options.schedule, options.threads)
        row("zuko NSF", found, time.perf_counter() - start)
    for name in options.flows:
        start = time.perf_counter()
        found = [test_log_prob(FLOWS[name], data, s, rate, decay) for s in seeds]
        row(f"Flow, {name}", found, time.perf_counter() - start)


if __name__ == "__main__":
    main()
