"""Whether a model computes here what it computed where it was made.

The card of a pretrained model has an entry `check`: the mean bits/dim of the first images of its
test split, and `golden.png`, what it decodes from fixed noise, each with the deviation that other
machines may show: networks in bfloat16 round differently from one processor to another.
"""

import numpy as np
from PIL import Image

from tfgen.errors import InputError

IMAGES = 256
SAMPLES = 8
GOLDEN = "golden.png"
SEED = 20180709


def entries(model, images):
    """The entry `check` of a card.

    Args:
        model: as it is published.
        images: the first `IMAGES` images of the test split, uint8 `[N, H, W, C]`.
    """
    half = str(model.get_config().get("network_dtype")) in ("bfloat16", "float16")
    return {
        "images": len(images),
        "bits_per_dim": round(_bits_per_dim(model, images), 6),
        "relative_tolerance": 1e-3 if half else 1e-4,
        "samples": SAMPLES,
        "seed": SEED,
        "tolerance_in_levels": 2.0 if half else 0.05,
    }


def golden(model):
    """Decodings of fixed noise: uint8 `[SAMPLES, H, W, C]`.

    The noise is NumPy's, the same on every machine and in every version of TensorFlow. At
    temperature 0.7; of a class-conditional model, of the classes in turn.
    """
    noise = np.random.RandomState(SEED).normal(0.0, 0.7, (SAMPLES, model.latent_dim))
    noise = noise.astype("float32")
    return np.asarray(model.decode(model.latents_from_noise(noise)))


def write_golden(model, directory):
    """Keep `golden` in `golden.png`, below each other."""
    images = golden(model)
    column = images.reshape(-1, *images.shape[2:])
    Image.fromarray(column[..., 0] if column.shape[-1] == 1 else column).save(directory / GOLDEN)


def read_golden(directory, image_shape):
    """What `write_golden` kept."""
    with Image.open(directory / GOLDEN) as picture:
        return np.asarray(picture).reshape(-1, *image_shape)


def check(model, directory, card, images=None):
    """Compare a model with its card.

    Args:
        model: loaded from `directory`.
        directory: of the model.
        card: of it.
        images: the first so many test images as the card says, if the data are here.

    Raises:
        InputError: the likelihood or the samples are not those of the card; what, by how much.

    Example:

    >>> import tfgen
    >>> from tfgen.zoo import checking
    >>> card, images = tfgen.zoo.card("vae-digits"), tfgen.data.load("digits").images("test")
    >>> model, directory = tfgen.zoo.load("vae-digits"), tfgen.zoo.directory("vae-digits")
    >>> checking.check(model, directory, card, images[: card["check"]["images"]])
    """
    expected = card["check"]
    difference = golden(model).astype("float32") - read_golden(directory, model.image_shape)
    levels = float(np.abs(difference).mean())
    if levels > expected["tolerance_in_levels"]:
        raise InputError(
            f"{card['name']}: its samples differ from {GOLDEN} by {levels:.3f} levels in the "
            f"mean, more than {expected['tolerance_in_levels']}"
        )
    if images is None:
        return
    if len(images) != expected["images"]:
        raise InputError(f"check: {expected['images']} images are needed, got {len(images)}")
    bits = _bits_per_dim(model, images)
    if not abs(bits / expected["bits_per_dim"] - 1) <= expected["relative_tolerance"]:  # Or NaN.
        raise InputError(
            f"{card['name']}: {bits:.6f} bits/dim of {len(images)} test images, its card says "
            f"{expected['bits_per_dim']:.6f}"
        )


def _bits_per_dim(model, images):
    return float(np.mean(model.bits_per_dim(images, num_samples=model.num_evaluation_samples)))
