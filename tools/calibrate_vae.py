"""Calibrates the estimators of a VAE's marginal likelihood against exact quadrature.

    python tools/calibrate_vae.py [MODEL] [--images 40] [--data-dir DIR] [--seed 0]

MODEL is a name of the zoo or a run directory, with 1 or 2 latents; by default, a VAE with
two latents is trained on the 8x8 digits for a few seconds. Prints a Markdown table: for each
estimator, the mean and the root mean square of its errors over test images, the largest error, and
its time. The errors are differences from the trapezoidal rule with 601 points in each latent; the
rule with half as many points shows the error of this reference.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import tfgen
from tfgen.evaluation.hmc import hmc_log_prob
from tfgen.evaluation.quadrature import quadrature_log_prob
from tfgen.training import recipe, run
from tfgen.zoo import trained_on

SETTINGS = ["latent_dim=2", "hidden_units=[64]", "epochs=20", "batch_size=64"]
HMC = {"20 chains x 100": {}, "20 chains x 500": {"num_samples": 500}}


def trained(seed):
    """A model with two latents, and its data."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        chosen = recipe.load("vae-digits", [*SETTINGS, f"seed={seed}"])
        out = run.train(chosen, Path(folder) / "run")
        return tfgen.zoo.load(out), trained_on.load(tfgen.zoo.card(out))


def estimators(model, seed):
    yield (
        "quadrature, 301 points",
        lambda x: quadrature_log_prob(model, x, num_points=301),
    )
    for k in (1, 10, 100, 1000, 5000):
        yield (
            f"importance sampling, k = {k}",
            lambda x, k=k: model.log_prob(x, num_samples=k),
        )
    for name, options in HMC.items():
        yield (
            f"appendix D, {name}",
            lambda x, options=options: hmc_log_prob(model, x, seed=seed, **options),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--images", type=int, default=40, help="number of test images")
    parser.add_argument("--data-dir", help="directory of the local data sets")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.model:
        model = tfgen.zoo.load(options.model)
        data = trained_on.load(tfgen.zoo.card(options.model), options.data_dir)
    else:
        model, data = trained(options.seed)
    images = data.images("test")[: options.images]
    exact = np.asarray(quadrature_log_prob(model, images))
    print(
        f"{data.name}, {len(images)} test images, {model.latent_dim} latents; "
        f"exact: {exact.mean():.4f} nats on average\n"
    )
    print("| estimator | mean error, nats | standard error | RMS | largest | seconds |")
    print("|---|---|---|---|---|---|")
    for name, estimate in estimators(model, options.seed):
        start = time.perf_counter()
        errors = np.asarray(estimate(images), "float64") - exact
        seconds = time.perf_counter() - start
        of_mean = errors.std(ddof=1) / np.sqrt(len(errors))
        print(
            f"| {name} | {errors.mean():+.4f} | {of_mean:.4f} | {np.sqrt(np.mean(errors**2)):.4f} "
            f"| {errors[np.abs(errors).argmax()]:+.4f} | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
