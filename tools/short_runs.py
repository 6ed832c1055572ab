"""Trains recipes for 1 % of their steps: each must end better than uniform noise.

    python tools/short_runs.py                  every recipe whose data are on this machine
    python tools/short_runs.py vae-fashion-mnist --fraction 0.02 --data FOLDER
    python tools/short_runs.py --reduced        small networks and images, as the tests do

Prints for each recipe its steps, the bits/dim of the test split, those of uniform noise, the
weights that were saved, and what was scaled to the run. The exit code is 1 if a model is worse than
uniform noise.
"""

import argparse
import os
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console

import tfgen
from tfgen.errors import InputError
from tfgen.training import recipe, run, scaling
from tfgen.training.quality import WorseThanUniformError

FRACTION, MOST_REDUCED_STEPS = 0.01, 100
IMAGES = {"mnist": 60_000, "fashion_mnist": 60_000, "cifar10": 50_000, "digits": 1293}
GREY = ("digits", "mnist", "fashion_mnist")


def steps_of(chosen, fraction=FRACTION):
    """The number of steps that are a fraction of those of a recipe."""
    training = chosen.training
    total = training.steps
    if total is None:
        total = training.epochs * -(-IMAGES[chosen.data.source] // training.batch_size)
    return max(1, round(fraction * total))


def reduced(name):
    """A recipe for small images and with a small network; everything else is its own.

    Recipes of `digits` are small as they are.
    """
    chosen = recipe.load(name)
    values = {"training.steps": min(steps_of(chosen), MOST_REDUCED_STEPS)}
    if chosen.data.source == "digits":
        return recipe.load(name, values=values)
    values["data.image_shape"] = None
    if chosen.data.source in GREY:
        values["data.source"] = "digits"
    else:
        options = {"num_images": 512, "num_test_images": 64, "size": 8}
        values |= {"data.source": "shapes", "data.options": options}
    model = chosen.model.model_dump()
    small = {
        "levels": 1,
        "depth": 1,
        "width": 8,
        "dequantization_depth": 1,
        "dequantization_width": 8,
        "latent_dim": 8,
        "hidden_units": [32],
        "channels": [4, 8],
        "flow_steps": 1,
        "flow_width": 8,
    }
    values |= {f"model.{key}": value for key, value in small.items() if key in model}
    return recipe.load(name, values=values)


def train(name, chosen, data_dir=None):
    """A line of the table for a recipe, and whether its model is better than uniform noise."""
    start, better = time.monotonic(), True
    with tempfile.TemporaryDirectory() as directory, open(os.devnull, "w") as nowhere:
        out = f"{directory}/run"
        try:
            run.train(chosen, out, data_dir=data_dir, console=Console(file=nowhere))
        except WorseThanUniformError:
            better = False
        except InputError as error:
            return f"{name}: {error}", True
        card = tfgen.zoo.card(out)
    training, metric = card["training"], card["metrics"]["bits_per_dim"]
    return (
        f"{name}: {training['steps']:,} steps, {metric['value']:.3f} bits/dim, uniform "
        f"{metric['protocol']['bits']}; weights {training['weights']['used']}; scaled: "
        f"{scaling.describe(training.get('scaled_to_run', {})) or 'nothing'}; "
        f"{time.monotonic() - start:.0f} s"
    ), better


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: all but the paper's")
    parser.add_argument("--fraction", type=float, default=FRACTION, help="of the steps")
    parser.add_argument("--data", metavar="SOURCE", help="data set, or folder of images")
    parser.add_argument("--data-dir", metavar="DIR", help="directory of the local data sets")
    parser.add_argument("--reduced", action="store_true", help="small networks and images")
    options = parser.parse_args()
    known = [n for n in recipe.names() if options.reduced or not n.endswith("-paper")]
    all_better = True
    for name in options.recipes or known:
        if options.reduced:
            chosen = reduced(name)
        else:
            values = {"training.steps": steps_of(recipe.load(name), options.fraction)}
            values |= {"data.source": options.data} if options.data else {}
            chosen = recipe.load(name, values=values)
        line, better = train(name, chosen, options.data_dir)
        print(line if better else f"{line}  WORSE THAN UNIFORM", flush=True)
        all_better &= better
    sys.exit(0 if all_better else 1)


if __name__ == "__main__":
    main()
