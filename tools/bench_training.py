"""Measures the overhead of training: the input pipeline, and distribution over devices.

python tools/bench_training.py input      time per step with real data / with one cached batch
python tools/bench_training.py devices    images/s of two logical CPU devices / of one

Both cases of a ratio alternate in one process, in rounds; a ratio is the median over the rounds.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

import tfgen
from tfgen.data.augmentation import Augmentation
from tfgen.training import loop, strategy
from tfgen.training.replicated import Replicated

MODELS = {
    "vae": lambda shape: tfgen.models.VAE(
        shape, latent_dim=20, likelihood="bernoulli" if shape[2] == 1 else "quantized_logistic"
    ),
    "glow": lambda shape: tfgen.models.Glow(shape, levels=2, depth=4, width=64),
}


class CachedBatch:
    """A stream that repeats one batch, which is in memory."""

    def __init__(self, stream):
        self._batch = stream.global_batch(0)

    def from_step(self, step, **parts):
        return tf.data.Dataset.from_tensors(self._batch).cache().repeat()


def trained(model, distribution, data, batch_size):
    with distribution.scope():
        built = MODELS[model](data.image_shape)
        built.compile(tfgen.optimizers.Adam(1e-4), seed=0)
    if model == "glow":
        built.initialize(data.images("test")[:batch_size])
    return Replicated(built, distribution)


def seconds_per_step(replicated, batches, seconds):
    start, steps, pace = time.perf_counter(), 0, 0.0
    while (spent := time.perf_counter() - start) < seconds:
        pace = spent / steps if steps else 0.0
        steps += len(replicated.train(batches, loop.steps_per_call(pace)).steps)
    return spent / steps


def in_turns(first, second, rounds, seconds):
    """Median seconds per step of both, and the median of the ratios first / second."""
    for case in (first, second):
        seconds_per_step(*case, seconds)
    pairs = [
        (seconds_per_step(*first, seconds), seconds_per_step(*second, seconds))
        for _ in range(rounds)
    ]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return *medians, statistics.median(a / b for a, b in pairs)


DATA = {
    "mnist": (None, Augmentation()),
    "cifar10": (None, Augmentation()),
    "cifar10 augmented": (None, Augmentation(shift=3, flip=True)),
    "20,000 JPEG files": ((64, 64, 3), Augmentation()),
}


def bench_input(options):
    rounds, seconds, batch_size = options.rounds, options.seconds, options.batch_sizes[0]
    print("| data | model | ms/step, cached batch | ms/step, real data | ratio |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.data:
            shape, augmentation = DATA[name]
            source = name.removesuffix(" augmented")
            if source in tfgen.data.names():
                data = tfgen.data.load(source)
            else:
                write_jpegs(Path(folder) / "images", 20_000)
                data = prepared_in(Path(folder) / "home", Path(folder) / "images", shape)
            stream = data.stream("train", batch_size=batch_size, augmentation=augmentation)
            for model in options.models:
                replicated = trained(model, tf.distribute.get_strategy(), data, batch_size)
                real = replicated, replicated.batches(stream)
                cached = replicated, replicated.batches(CachedBatch(stream))
                slow, fast, ratio = in_turns(real, cached, rounds, seconds)
                print(
                    f"| {name} | {model} | {1e3 * fast:.2f} | {1e3 * slow:.2f} | {ratio:.3f} |",
                    flush=True,
                )


def bench_devices(options):
    rounds, seconds = options.rounds, options.seconds
    print("| model | batch | ms/step, one device | ms/step, two | throughput of two / of one |")
    print("|---|---|---|---|---|")
    two = strategy.choose("mirrored", "cpu:2")
    data = tfgen.data.load("cifar10")
    for model, batch_size in itertools.product(options.models, options.batch_sizes):
        stream = data.stream("train", batch_size=batch_size)
        replicated = [
            trained(model, distribution, data, batch_size)
            for distribution in (tf.distribute.get_strategy(), two)
        ]
        one, both = ((r, r.batches(stream)) for r in replicated)
        single, mirrored, ratio = in_turns(one, both, rounds, seconds)
        print(
            f"| {model} | {batch_size} | {1e3 * single:.2f} | {1e3 * mirrored:.2f} | {ratio:.3f} |",
            flush=True,
        )


def prepared_in(home, source, shape):
    """The data set of a folder, prepared in a temporary directory."""
    before = os.environ.get("TFGEN_HOME")
    os.environ["TFGEN_HOME"] = str(home)
    try:
        return tfgen.data.load(source, image_shape=shape)
    finally:
        os.environ.pop("TFGEN_HOME")
        if before is not None:
            os.environ["TFGEN_HOME"] = before


def write_jpegs(folder, count):
    """Write random images; photographs take no longer, as files are decoded once, in advance."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(count):
        coarse = generator.integers(0, 256, (8, 8, 3), "uint8")
        Image.fromarray(coarse).resize((96, 96), Image.BICUBIC).save(folder / f"{i}.jpg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["input", "devices"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="per case and round")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    options = parser.parse_args()
    {"input": bench_input, "devices": bench_devices}[options.what](options)
