"""The cost of training the paper's recipes: GFLOP per image, memory, GPU-hours.

    python tools/recipe_costs.py [NAME-paper ...]

The count includes the multiplications and additions of the coupling networks and the 1x1
convolutions: once for the forward pass, twice for the backward pass, and once more where
activations are recomputed (memory: reversible or checkpoint). GPU-hours assume 30 TFLOP/s, which
one NVIDIA A100 may sustain in TF32. Memory includes weights, gradients, Adam's two slots and the
activations of one image on one device.
"""

import argparse
import math

from tfgen.training import recipe

SUSTAINED = 30e12  # FLOP/s
PAPER = (
    "glow-cifar10-paper",
    "glow-imagenet32-paper",
    "glow-imagenet64-paper",
    "glow-lsun-paper",
    "glow-celeba-hq-256-paper",
)


def cost(chosen, image_shape):
    """Weights, GFLOP per image, GiB and GPU-hours of a recipe with the paper's networks: a dict."""
    model, (height, width, channels) = chosen.model, image_shape
    hidden, depth, outputs = model.width, model.depth, 1 if _additive(model) else 2
    forward = weights = kept = 0
    for _ in range(model.levels):
        height, width, channels = height // 2, width // 2, 4 * channels
        half = channels // 2
        network = 9 * half * hidden + hidden * hidden + 9 * hidden * outputs * half
        step = network + channels * channels
        forward += depth * height * width * 2 * step
        weights += depth * (step + 2 * hidden + outputs * half + 2 * channels)
        kept += height * width * (2 * hidden + 4 * channels) * (depth if _plain(model) else 2)
        channels //= 2
    flop = forward * (3 if _plain(model) else 4)
    images = chosen.training.steps * chosen.training.batch_size
    return {
        "weights": weights,
        "GFLOP per image": flop / 1e9,
        "GiB of weights and Adam": 16 * weights / 2**30,
        "GiB per image": 4 * kept / 2**30,
        "images": images,
        "GPU-hours": images * flop / SUSTAINED / 3600,
    }


def _additive(model):
    return model.model_extra.get("coupling", "affine") == "additive"


def _plain(model):
    return model.model_extra.get("memory", "plain") == "plain"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=PAPER, metavar="NAME-paper")
    recipes = parser.parse_args().recipes
    for name in recipes:
        if name not in PAPER:
            parser.error(f"{name} is not one of {', '.join(PAPER)}")
    for name in recipes:
        chosen = recipe.load(name)
        shape = chosen.data.image_shape or (32, 32, 3)
        found = cost(chosen, shape)
        print(name, *(f"{value:,.3g} {key}" for key, value in found.items()), sep="  ")
        side = math.prod(shape)
        print(f"  {found['GFLOP per image'] * 1e9 / side / 1e6:.2f} MFLOP per dimension")


if __name__ == "__main__":
    main()
