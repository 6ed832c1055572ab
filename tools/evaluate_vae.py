"""Estimates of log p(x) and latent statistics of a VAE on test images, each with its time.

    python tools/evaluate_vae.py MODEL [--data mnist] [--data-dir DIR] [--images N]
        [--num-samples 5000] [--weights FILE --hidden-units 200 200 --latents 50]

The estimates are the ELBO, L_k, and, for few latents, quadrature and the estimator of appendix D.
MODEL is a name of the zoo or a run directory, or "-" with --weights: a weights file of an MLP VAE
of the given sizes. Prints one line per estimate: mean, standard error over images, seconds, peak
memory.
"""

import argparse
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import tfgen
from tfgen.evaluation import hmc, latent_statistics, quadrature
from tfgen.zoo import trained_on


def report(name, compute):
    start = time.perf_counter()
    values = np.asarray(compute(), "float64")
    seconds = time.perf_counter() - start
    error = values.std() / np.sqrt(len(values))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{name:28} {values.mean():10.4f} +- {error:.4f} nats   {len(values)} images   "
        f"{seconds:.1f} s   peak {memory:.2f} GiB",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--hidden-units", type=int, nargs="+", default=[200, 200])
    parser.add_argument("--latents", type=int, default=50)
    parser.add_argument("--data", help="a data set of tfgen.data (default: that of the card)")
    parser.add_argument("--data-dir", help="directory of the local data sets")
    parser.add_argument("--images", type=int, help="number of test images (default: all)")
    parser.add_argument("--num-samples", type=int, nargs="*", metavar="K", default=[5000])
    options = parser.parse_args()
    data = options.data and tfgen.data.load(options.data, data_dir=options.data_dir)
    if options.weights:
        data = data or tfgen.data.load("mnist", data_dir=options.data_dir)
        model = tfgen.models.VAE(
            data.image_shape, latent_dim=options.latents, hidden_units=options.hidden_units
        )
        model.load_weights(options.weights)
    else:
        model = tfgen.zoo.load(options.model)
        data = data or trained_on.load(tfgen.zoo.card(options.model), options.data_dir)
    images = data.images("test")[: options.images]
    print(f"{data.name}, {model.dequantization}, {model.num_dims} dims")
    report("ELBO", lambda: model.log_prob(images))
    for k in options.num_samples:
        report(f"L_{k}", lambda k=k: model.log_prob(images, num_samples=k))
    if model.latent_dim <= 2:
        part = images[:100]
        report("quadrature", lambda: quadrature.quadrature_log_prob(model, part))
    if model.latent_dim <= hmc.MAX_LATENTS:
        part = images[:100]
        report("appendix D", lambda: hmc.hmc_log_prob(model, part))
    active = int(latent_statistics.active_units(model, images).sum())
    print(f"active units: {active} of {model.latent_dim}")
    if model.settings["prior"] == "normal" and model.settings["posterior"] == "gaussian":
        divergences = latent_statistics.divergence_per_latent(model, images)
        listed = ", ".join(f"{value:.2f}" for value in sorted(divergences)[::-1])
        print(f"KL of each latent: {listed}")


if __name__ == "__main__":
    main()
