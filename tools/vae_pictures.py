"""Pictures of a VAE: manifold, reconstructions, interpolation, samples at several temperatures.

    python tools/vae_pictures.py MODEL --out DIR [--data mnist] [--data-dir DIR]

MODEL is a name of the zoo or a run directory, which holds the same pictures. The manifold is left
out unless it has two latents.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tfgen
from tfgen.evaluation import latent_pictures
from tfgen.zoo import trained_on


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", help="a data set of tfgen.data; by default that of the card")
    parser.add_argument("--data-dir", help="where local data sets lie")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = tfgen.zoo.load(options.model)
    if options.data:
        data = tfgen.data.load(options.data, data_dir=options.data_dir)
    else:
        data = trained_on.load(tfgen.zoo.card(options.model), options.data_dir)
    images = data.images("test")[:32]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, picture in latent_pictures.of_vae(model, images).items():
        picture.save(options.out / f"{name}.png")
        print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
