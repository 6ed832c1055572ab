"""Anomaly detection with the models of the zoo, by three scores.

    python tools/anomaly.py [MODEL:OTHER ...] [--images 2000] [--num-samples 1] [--data-dir DIR]

For each pair, prints the area under the ROC curve (1/2 is chance, less is worse than chance) of
likelihood, typicality and complexity (`tfgen.anomaly.scores`), for test images of the model's data
set compared with test images of OTHER. The default is every pair whose model and data are on this
machine: MNIST and Fashion-MNIST, and CIFAR-10 and shapes, in both directions. Images whose shape is
not that of the model are refused, not resized, because resizing alone makes images smoother.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import tfgen
from tfgen.anomaly.scores import SCORES, anomaly_scores, auroc
from tfgen.errors import InputError
from tfgen.zoo import trained_on

PAIRS = (
    "glow-mnist:fashion_mnist",
    "glow-fashion-mnist:mnist",
    "vae-fashion-mnist:mnist",
    "glow-cifar10:shapes",
    "glow-shapes:cifar10",
)


def compare(name, other, count, num_samples, data_dir=None):
    """The AUROC of each score, a dict, and the mean bits/dim of both kinds of images."""
    model = tfgen.zoo.load(name)
    own = trained_on.load(tfgen.zoo.card(name), data_dir)
    others = tfgen.data.load(other, data_dir=data_dir)
    training = own.images("train")[:count]
    usual, unusual = (
        anomaly_scores(model, data.images("test")[:count], training, num_samples)
        for data in (own, others)
    )
    bits = [np.mean(s["likelihood"]) / (model.num_dims * np.log(2.0)) for s in (usual, unusual)]
    return {score: auroc(usual[score], unusual[score]) for score in SCORES}, bits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="*", metavar="MODEL:OTHER")
    parser.add_argument(
        "--images", type=int, default=2000, help="number of images of each kind (default: 2000)"
    )
    parser.add_argument("--num-samples", type=int, default=1, help="see tfgen score (default: 1)")
    parser.add_argument("--data-dir", metavar="DIR", help="directory of the local data sets")
    options = parser.parse_args()
    print(f"| model | against | bits/dim own, other | {' | '.join(SCORES)} |")
    print(f"|---|---|---|{'---|' * len(SCORES)}")
    for pair in options.pairs or PAIRS:
        name, _, other = pair.partition(":")
        try:
            found, bits = compare(
                name, other, options.images, options.num_samples, options.data_dir
            )
        except InputError as error:
            if options.pairs:
                parser.error(str(error))
            print(f"left out: {pair}: {error}")
            continue
        areas = " | ".join(f"{found[score]:.3f}" for score in SCORES)
        print(f"| {name} | {other} | {bits[0]:.2f}, {bits[1]:.2f} | {areas} |", flush=True)


if __name__ == "__main__":
    main()
