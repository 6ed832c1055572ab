"""Attribute directions of a model of `shapes`, measured from the pixels of changed images.

A shape is drawn in a pure colour on grey, so that (largest - smallest channel) / 255 is the share
of a pixel that the shape covers. Its area, centre and hue follow from the pixels alone.
"""

import numpy as np

from tfgen import checks
from tfgen.data.dataset import Dataset
from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel

NUM_IMAGES = 500  # test images that a direction is measured on
NUM_ENCODED = 4000  # training images that a direction is computed from, at most
NUM_TUNING = 200  # training images that the amount is chosen on, at most
BACKGROUND = 0.15  # coverage below which a pixel counts as background

# attribute -> conditions on its label: without the attribute, with the attribute
ATTRIBUTES = {
    "hue": (
        lambda hue: np.abs((hue + 0.5) % 1 - 0.5) < 1 / 12,
        lambda hue: abs(hue - 1 / 3) < 1 / 12,
    ),
    "size": (
        lambda size: size < np.quantile(size, 0.25),
        lambda size: size > np.quantile(size, 0.75),
    ),
    "x": (lambda x: x < 0.4, lambda x: x > 0.6),
    "y": (lambda y: y < 0.4, lambda y: y > 0.6),
}
# In turns (hue), fractions of the area (size) and pixels (x, y):
REQUIRED_CHANGE = {"hue": 0.02, "size": 0.05, "x": 0.5, "y": 0.5}
TOLERATED_CHANGE = {"hue": 1 / 12, "size": 0.5, "x": 1.0, "y": 1.0}
AMOUNTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # multiples of a direction that are tried
_DESCRIPTIONS = {
    "hue": "red shapes whose hue moved towards green by at least 0.02 turns",
    "size": "small shapes whose area grew by at least 5 %",
    "x": "shapes on the left whose centre moved right by at least half a pixel",
    "y": "shapes at the top whose centre moved down by at least half a pixel",
}


def moved(
    model: GenerativeModel,
    data: Dataset,
    attribute: str,
    *,
    others_kept: bool = False,
    num_images: int = NUM_IMAGES,
) -> tuple[np.ndarray, float]:
    """Whether the attribute's direction moves it, for each test image without the attribute.

    The direction is the difference of the mean latents of training images with and without the
    attribute (`model.attribute_direction`). The multiple of the direction that is added is the
    one that moves the attribute of most other training images, the smallest one if several do; it
    does not depend on the test images.

    A model that gives the same shape for every image may move the attribute too. With `others_kept`
    the other attributes must stay within `TOLERATED_CHANGE`.

    Args:
        model: a model of `shapes`.
        data: the data set `shapes`.
        attribute: one of `ATTRIBUTES`.
        others_kept: whether the other attributes must be kept.
        num_images: number of test images, at most.

    Returns:
        Booleans `[M]`, and the multiple of the direction that was added, one of `AMOUNTS`.

    Raises:
        InputError: an unknown attribute, or too few images with or without it.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5, for the directions.
    """
    without, with_it = ATTRIBUTES[checks.choice("attribute", attribute, ATTRIBUTES)]
    labels, train = _labels(data, "train", attribute), data.images("train")
    having, lacking = train[with_it(labels)], train[without(labels)]
    tested = data.images("test")[without(_labels(data, "test", attribute))][:num_images]
    if not len(tested) or not len(having) or len(lacking) < 2:
        raise InputError(f"{data.name} has too few images with and without {attribute}")
    num_tuning = min(NUM_TUNING, len(lacking) // 2)
    direction = model.attribute_direction(having[:NUM_ENCODED], lacking[num_tuning:][:NUM_ENCODED])

    def succeeded(images, amount):
        before = measure(np.asarray(model.reconstruct(images)))
        after = measure(np.asarray(model.manipulate(images, direction, amount)))
        good = change(before, after, attribute) >= REQUIRED_CHANGE[attribute]
        for other in ATTRIBUTES:
            if others_kept and other != attribute:
                good &= abs(change(before, after, other)) <= TOLERATED_CHANGE[other]
        return good

    shares = [succeeded(lacking[:num_tuning], amount).mean() for amount in AMOUNTS]
    amount = AMOUNTS[int(np.argmax(shares))]
    return succeeded(tested, amount), amount


def describe(attribute: str, others_kept: bool, amount: float) -> str:
    """The condition that `moved` checks, in words."""
    others = (
        " and whose other attributes were kept (hue within 1/12 turn, area within 50 %, centre "
        "within a pixel)"
    )
    return (
        f"{_DESCRIPTIONS[attribute]}{others if others_kept else ''}, after adding {amount:g} times "
        "the difference of the mean latents of images with and without the attribute; difference "
        "and factor come from training images"
    )


def _labels(data, split, attribute):
    labels = data.labels(split)
    if not isinstance(labels, dict) or attribute not in labels:
        raise InputError(f"{data.name} has no labels of {attribute}")
    return labels[attribute]


def change(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray], attribute: str
) -> np.ndarray:
    """The change of an attribute from one result of `measure` to another.

    In turns from red through green to blue, as a fraction of the area, or in pixels.
    """
    if attribute == "size":
        return after["size"] / before["size"] - 1
    if attribute == "hue":
        return (after["hue"] - before["hue"] + 0.5) % 1 - 0.5
    return after[attribute] - before[attribute]


def measure(images: np.ndarray) -> dict[str, np.ndarray]:
    """Hue in turns, area, and centre in pixels, of the shape in each image.

    Shapes: uint8 `[N, H, W, 3]` to a dict of float arrays `[N]`.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import attribute_directions
    >>> data = tfgen.data.load("shapes", options={"num_images": 8, "num_test_images": 8})
    >>> found = attribute_directions.measure(data.images("test"))
    >>> bool(abs(found["x"] - 32 * data.labels("test")["x"]).max() < 0.5)
    True
    """
    values = images.astype("float64") / 255
    grey = values.min(axis=-1)
    coverage = values.max(axis=-1) - grey
    coverage = np.where(coverage < BACKGROUND, 0.0, coverage)
    area = np.maximum(coverage.sum(axis=(1, 2)), 1e-9)
    rows, columns = (np.arange(side) + 0.5 for side in coverage.shape[1:])
    colour = ((values - grey[..., None]) * (coverage > 0)[..., None]).sum(axis=(1, 2))
    red, green, blue = colour.T
    hue = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * np.pi) % 1
    return {
        "hue": hue,
        "size": area,
        "x": (coverage.sum(axis=1) * columns).sum(axis=1) / area,
        "y": (coverage.sum(axis=2) * rows).sum(axis=1) / area,
    }
