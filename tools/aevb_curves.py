"""Figures 2 and 3 of arXiv:1312.6114: AEVB, wake-sleep and Monte Carlo EM during training.

    python tools/aevb_curves.py --data DIR [--methods aevb wake-sleep mcem] [--latents 20]
        [--samples-seen 1e7] [--train-size 60000] [--measure bound] --out DIR

The networks are those of appendix C: one hidden tanh layer, 500 units for MNIST, batches of 100,
weights from N(0, 0.01). Whenever the number of training samples seen has doubled, one of
these is measured:

- "bound": the evidence lower bound of all test images and of as many training images, as in
  figure 2
- "marginal": the marginal likelihood of --marginal-images test and training images by the
  estimator of appendix D (up to 5 latents), as in figure 3

Writes curves.csv and curves.png, and prints each measurement.
"""

import argparse
import csv
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.figure
import numpy as np

import tfgen
from tfgen.claims import baselines
from tfgen.evaluation.hmc import hmc_log_prob

METHODS = {
    "aevb": tfgen.models.VAE,
    "wake-sleep": baselines.WakeSleep,
    "mcem": baselines.MonteCarloEM,
}
BATCH = 100
FIRST_MEASUREMENT = 20_000


def measured(model, images, measure):
    if measure == "bound":
        return float(np.mean(model.log_prob(images)))
    parts = [hmc_log_prob(model, images[i : i + 100]) for i in range(0, len(images), 100)]
    return float(np.mean(np.concatenate(parts)))


def train(method, data, options):
    keras.utils.set_random_seed(options.seed)
    model = METHODS[method](data.image_shape, latent_dim=options.latents, hidden_units=[500])
    generator = np.random.default_rng(options.seed)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(size=weight.shape, scale=0.1).astype("float32"))
    model.compile(tfgen.optimizers.Adam(options.learning_rate), seed=options.seed)
    images = data.images("train")[: options.train_size]
    count = None if options.measure == "bound" else options.marginal_images
    splits = {"train": images, "test": data.images("test")}
    splits = {name: part[: count or len(splits["test"])] for name, part in splits.items()}
    seen, due, start, rows = 0, FIRST_MEASUREMENT, time.perf_counter(), []
    while seen < options.samples_seen:
        upto = min(due, options.samples_seen)
        while seen < upto:
            part = generator.permutation(len(images))[: int(upto - seen)]
            part = part[: len(part) // BATCH * BATCH]
            model.fit(images[part], batch_size=BATCH, shuffle=False, verbose=0)
            seen += len(part)
        seconds = time.perf_counter() - start
        values = {name: measured(model, part, options.measure) for name, part in splits.items()}
        rows.append({"method": method, "samples": seen, "seconds": round(seconds, 1), **values})
        print(rows[-1], flush=True)
        due = 2 * seen
    return rows


def draw(rows, measure, file):
    figure = matplotlib.figure.Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        own = [row for row in rows if row["method"] == method]
        samples = [row["samples"] for row in own]
        color = f"C{number}"
        axes.plot(samples, [row["test"] for row in own], color=color, label=f"{method}, test")
        axes.plot(samples, [row["train"] for row in own], "--", color=color, label="train")
    label = "evidence lower bound" if measure == "bound" else "marginal log-likelihood"
    axes.set(xscale="log", xlabel="training samples seen", ylabel=f"{label}, nats")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="directory of the local data sets")
    parser.add_argument("--source", default="mnist", help="a data set of tfgen.data")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["aevb", "wake-sleep"])
    parser.add_argument("--latents", type=int, default=20)
    parser.add_argument("--samples-seen", type=float, default=1e7)
    parser.add_argument("--train-size", type=int, default=60_000)
    parser.add_argument("--measure", choices=["bound", "marginal"], default="bound")
    parser.add_argument("--marginal-images", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = tfgen.data.load(options.source, data_dir=options.data)
    rows = []
    for method in options.methods:
        rows += train(method, data, options)
        with open(options.out / "curves.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        draw(rows, options.measure, options.out / "curves.png")


if __name__ == "__main__":
    main()
