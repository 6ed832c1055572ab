"""Figures of a card beyond the likelihood of one draw, each measured again by its protocol."""

import numpy as np

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import attributes
from tfgen.evaluation.metrics import figure, name_with_options

SAMPLES_OF_OTHERS, TEST_SHAPES = 16, 4000
TIGHTER, CLASSES = "nats_importance_weighted", "samples_as_asked"
_MOVED, _MOVED_ALONE = "moves_", "moves_only_"


def names(model, data):
    """Which figures there are of a model."""
    found = []
    if model.num_tight_samples > 1:
        found.append(TIGHTER)
    if model.num_classes:
        found.append(CLASSES)
    if data.name == "shapes":
        found += [kind + a for kind in (_MOVED, _MOVED_ALONE) for a in attributes.ATTRIBUTES]
    return found


def measure(name, model, data, num_samples=None):
    """One figure on the test split.

    - `nats_importance_weighted`: the negative log-likelihood in nats, bounded by 5,000 importance
      samples of a VAE, or 16 draws of a flow's dequantization noise
    - `samples_as_asked`: the share of a class-conditional model's samples that a classifier finds
      to be of the class that was asked for (`tfgen.evaluation.class_samples`)
    - `moves_hue`, `moves_size`, `moves_x`, `moves_y`: the share of images that an attribute
      direction moves as asked (`tfgen.evaluation.attributes`); `moves_only_hue` and so on: and
      leaves the other attributes alone

    Args:
        name: of the figure.
        model: a model of the zoo.
        data: a `tfgen.data.Dataset`.
        num_samples: of the importance-weighted bound; by default as above.

    Raises:
        InputError: an unknown figure, or one that the model or the data do not have.
    """
    known = [TIGHTER, *(other for other in names(model, data) if other != TIGHTER)]
    if name not in known:
        raise InputError(
            f"no figure {name!r} of this model on {data.name}; there are bits_per_dim, nats, "
            f"{', '.join(known)}"
        )
    protocol = {"data": name_with_options(data), "split": "test", **model.protocol()}
    if name == TIGHTER:
        k = num_samples or max(model.num_tight_samples, SAMPLES_OF_OTHERS)
        nll = -np.asarray(model.log_prob(data.images("test"), num_samples=k))
        return figure(nll, "nats/image", {**protocol, **model.protocol(k)})
    if name == CLASSES:
        from tfgen.evaluation import class_samples

        right, accuracy = class_samples.as_asked(model, data)
        words = (
            f"samples at temperature {class_samples.TEMPERATURE}, each class in turn, found to be "
            f"of their class by a convolutional classifier that is right on {accuracy:.2%} of the "
            "test split"
        )
        return figure(right, "share", {**protocol, "bound": words})
    alone = name.startswith(_MOVED_ALONE)
    attribute = name.removeprefix(_MOVED_ALONE if alone else _MOVED)
    data = _with_enough_shapes(data)
    protocol["data"] = name_with_options(data)
    right, amount = attributes.moved(model, data, attribute, alone=alone)
    words = (
        f"{attributes.WORDS[attribute]}{', ' + attributes.ALONE if alone else ''}, by {amount:g} "
        "times the direction between the mean latents of images with and without the attribute; "
        "both chosen on training images"
    )
    return figure(right, "share", {**protocol, "bound": words})


def _with_enough_shapes(data):
    """With so many test images that 500 of them lack any attribute; the first are the same."""
    options = data.provenance["options"]
    most = max(options["num_test_images"], TEST_SHAPES)
    if most == options["num_test_images"]:
        return data
    return tfgen.data.load(data.name, options={**options, "num_test_images": most})
