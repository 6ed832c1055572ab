"""The pictures of a run directory, for any model: samples, interpolation, and more for a VAE.

    python tools/pictures.py MODEL --out DIR [--data mnist] [--data-dir DIR]

MODEL is a name of the zoo or a run directory. A VAE also gets reconstructions, samples at several
temperatures and, with two latents, its manifold.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tfgen
from tfgen.evaluation import pictures, report
from tfgen.zoo import trained_on


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", help="a data set of tfgen.data (default: that of the card)")
    parser.add_argument("--data-dir", help="directory of the local data sets")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = tfgen.zoo.load(options.model)
    if options.data:
        data = tfgen.data.load(options.data, data_dir=options.data_dir)
    else:
        data = trained_on.load(tfgen.zoo.card(options.model), options.data_dir)
    images = data.images("test")[:32]
    options.out.mkdir(parents=True, exist_ok=True)
    value = report.temperature(tfgen.zoo.card(options.model))
    for name, picture in pictures.of_model(model, images, value).items():
        picture.save(options.out / f"{name}.png")
        print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
