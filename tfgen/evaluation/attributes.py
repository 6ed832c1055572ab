"""Attribute directions of a model of `shapes`, judged on the pixels of what they change.

A shape is drawn in a pure colour over grey, so that (largest - smallest channel) / 255 is the share
of a pixel that it covers: its area, centre and hue follow from the pixels alone.
"""

import numpy as np

from tfgen.errors import InputError

IMAGES = 500
ENCODED = 4000  # training images on which directions are found, at most
FAINT = 0.15  # coverage below which a pixel counts as background

# From an attribute to which values of its label are without it, and which with it.
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
LEAST = {"hue": 0.02, "size": 0.05, "x": 0.5, "y": 0.5}  # turns, part of the area, pixels
MOST = {"hue": 1 / 12, "size": 0.5, "x": 1.0, "y": 1.0}  # by which the others may change
AMOUNTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # how many times a direction may be added
TRIED = 200  # training images on which one of them is chosen
WORDS = {
    "hue": "red shapes turned towards green by at least 0.02 turns",
    "size": "small shapes grown by at least 5 % of their area",
    "x": "shapes of the left moved to the right by at least half a pixel",
    "y": "shapes of the top moved down by at least half a pixel",
}
ALONE = "hue else within 1/12 of a turn, area within a half, centre within a pixel"


def moved(model, data, attribute, *, alone=False, images=IMAGES):
    """Of each test image without an attribute: whether the direction moves it as asked.

    The direction is the difference of the mean latents of training images with and without the
    attribute (`model.attribute_direction`). It is added as often as moves most of other training
    images, the fewest times if several do: the test images have no say in that.

    A blob of one colour in one place, whatever the image was, may move as asked. With `alone` the
    other attributes must stay: hue within 1/12 of a turn, area within a half, centre within a
    pixel.

    Args:
        model: of `shapes`.
        data: `shapes`, a `tfgen.data.Dataset`.
        attribute: one of `ATTRIBUTES`.
        alone: whether the other attributes must stay.
        images: how many, at most.

    Returns:
        Booleans `[M]`; how many times the direction was added, one of `AMOUNTS`.

    Raises:
        InputError: an unknown attribute, no such images.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5, for the directions.
    """
    if attribute not in ATTRIBUTES:
        raise InputError(f"attribute must be one of {', '.join(ATTRIBUTES)}, got {attribute!r}")
    without, with_it = ATTRIBUTES[attribute]
    labels, train = data.labels("train")[attribute], data.images("train")
    having, lacking = train[with_it(labels)], train[without(labels)]
    asked = data.images("test")[without(data.labels("test")[attribute])][:images]
    if not len(asked) or not len(having) or len(lacking) < 2:
        raise InputError(f"{data.name} has too few images with and without {attribute}")
    tried = min(TRIED, len(lacking) // 2)
    direction = model.attribute_direction(having[:ENCODED], lacking[tried:][:ENCODED])

    def as_asked(images, amount):
        before = measured(np.asarray(model.reconstruct(images)))
        after = measured(np.asarray(model.manipulate(images, direction, amount)))
        good = rise(before, after, attribute) >= LEAST[attribute]
        for other in ATTRIBUTES:
            if alone and other != attribute:
                good &= abs(rise(before, after, other)) <= MOST[other]
        return good

    shares = [as_asked(lacking[:tried], amount).mean() for amount in AMOUNTS]
    amount = AMOUNTS[int(np.argmax(shares))]
    return as_asked(asked, amount), amount


def rise(before, after, attribute):
    """By how much a measured attribute rose: turns (red, green, blue), part of the area, pixels."""
    if attribute == "size":
        return after["size"] / before["size"] - 1
    if attribute == "hue":
        return (after["hue"] - before["hue"] + 0.5) % 1 - 0.5
    return after[attribute] - before[attribute]


def measured(images):
    """Hue in turns, area, and centre in pixels, of the one shape of each image.

    Shapes: uint8 `[N, H, W, 3]` to a dict of float arrays `[N]`.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import attributes
    >>> data = tfgen.data.load("shapes", options={"num_images": 8, "num_test_images": 8})
    >>> found = attributes.measured(data.images("test"))
    >>> bool(abs(found["x"] - 32 * data.labels("test")["x"]).max() < 0.5)
    True
    """
    values = images.astype("float64") / 255
    grey = values.min(axis=-1)
    coverage = values.max(axis=-1) - grey
    coverage = np.where(coverage < FAINT, 0.0, coverage)
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
