"""The metrics of a card: means over images, with standard error and protocol."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import tfgen
from tfgen import checks
from tfgen.data.dataset import Dataset
from tfgen.errors import InputError
from tfgen.evaluation import attribute_directions
from tfgen.models.base import GenerativeModel

Metric = dict[str, Any]

LIKELIHOOD = ("bits_per_dim", "nats")
TIGHTER_BOUND = "nats_importance_weighted"
CLASS_ACCURACY = "sample_class_accuracy"
_MOVES, _MOVES_ONLY = "moves_", "moves_only_"

DEFAULT_NUM_SAMPLES = 16  # of the tighter bound, for a model whose card has none
NUM_TEST_SHAPES = 4000  # enough for 500 images without each attribute


def likelihood(model: GenerativeModel, data: Dataset, split: str) -> dict[str, Metric]:
    """`bits_per_dim` and `nats`: negative log-likelihood with `model.num_evaluation_samples`.

    Args:
        model: a model of any kind.
        data: images of its shape.
        split: one of its splits.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import metrics
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> found = metrics.likelihood(model, tfgen.data.load("digits"), "test")
    >>> found["nats"]["protocol"]["dims"], found["nats"]["protocol"]["images"]
    (64, 360)
    """
    k = model.num_evaluation_samples
    nll = -np.asarray(model.log_prob(data.images(split), num_samples=k), "float64")
    protocol = {"data": describe(data), "split": split, **model.protocol(k)}
    return {
        "bits_per_dim": entry(nll / (model.num_dims * math.log(2.0)), "bits/dim", protocol),
        "nats": entry(nll, "nats/image", protocol),
    }


def further_names(model: GenerativeModel, data: Dataset) -> list[str]:
    """The names of the metrics that a card of this model has in addition to `LIKELIHOOD`."""
    found = []
    if model.num_tight_samples > 1:
        found.append(TIGHTER_BOUND)
    if model.num_classes:
        found.append(CLASS_ACCURACY)
    if data.name == "shapes":
        attributes = attribute_directions.ATTRIBUTES
        found += [kind + name for kind in (_MOVES, _MOVES_ONLY) for name in attributes]
    return found


def check_name(name: str, model: GenerativeModel, data: Dataset) -> None:
    """Check that a metric exists for a model and data, before anything is measured.

    Args:
        name: name of the metric.
        model: a model of any kind.
        data: images of its shape.

    Raises:
        InputError: it does not; the message lists those that do.
    """
    known = list(dict.fromkeys([*LIKELIHOOD, TIGHTER_BOUND, *further_names(model, data)]))
    if name not in known:
        raise InputError(
            f"no metric {name!r} of this model on {data.name}; the metrics are "
            f"{', '.join(known)}{checks.did_you_mean(name, known)}"
        )


def measure(
    name: str, model: GenerativeModel, data: Dataset, num_samples: int | None = None
) -> Metric:
    """A metric that is not one of `LIKELIHOOD`, on the test split.

    - `nats_importance_weighted`: the negative log-likelihood in nats by a tighter bound, with
      `model.num_tight_samples`
    - `sample_class_accuracy`: the share of a class-conditional model's samples that a classifier
      assigns to the requested class (`tfgen.evaluation.class_accuracy`)
    - `moves_hue`, `moves_size`, `moves_x`, `moves_y`: the share of images whose attribute is moved
      by its direction (`tfgen.evaluation.attribute_directions`); `moves_only_hue` and so on:
      the share of images whose other attributes are kept as well

    Args:
        name: name of the metric.
        model: a model of any kind.
        data: images of its shape.
        num_samples: number of samples of the tighter bound; by default as above.

    Raises:
        InputError: an unknown metric, or one that the model or the data do not have.
    """
    check_name(name, model, data)
    if name == TIGHTER_BOUND:
        k = num_samples or max(model.num_tight_samples, DEFAULT_NUM_SAMPLES)
        nll = -np.asarray(model.log_prob(data.images("test"), num_samples=k), "float64")
        protocol = {"data": describe(data), "split": "test", **model.protocol(k)}
        return entry(nll, "nats/image", protocol)
    if name == CLASS_ACCURACY:
        return _class_accuracy(model, data)
    return _moved(name, model, data)


def _class_accuracy(model, data):
    from tfgen.evaluation import class_accuracy

    correct, accuracy = class_accuracy.correct_samples(model, data)
    words = (
        f"samples at temperature {class_accuracy.TEMPERATURE}, each class in turn, assigned to "
        "their class by a convolutional classifier whose accuracy on the test split is "
        f"{accuracy:.2%}"
    )
    return entry(correct, "share", _protocol_of_share(model, data, words))


def _moved(name, model, data):
    others_kept = name.startswith(_MOVES_ONLY)
    attribute = name.removeprefix(_MOVES_ONLY if others_kept else _MOVES)
    data = _with_enough_shapes(data)
    moved, amount = attribute_directions.moved(model, data, attribute, others_kept=others_kept)
    words = attribute_directions.describe(attribute, others_kept, amount)
    return entry(moved, "share", _protocol_of_share(model, data, words))


def _protocol_of_share(model, data, words):
    return {"data": describe(data), "split": "test", **model.protocol(), "bound": words}


def _with_enough_shapes(data):
    """The data set with at least `NUM_TEST_SHAPES` test images; the first ones do not change."""
    options = data.provenance["options"]
    count = max(options["num_test_images"], NUM_TEST_SHAPES)
    if count == options["num_test_images"]:
        return data
    return tfgen.data.load(data.name, options={**options, "num_test_images": count})


def describe(data: Dataset) -> str:
    """A data set's name, with the options that determine its content."""
    options = {k: v for k, v in data.provenance.get("options", {}).items() if k != "image_shape"}
    listed = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{data.name} ({listed})" if listed else data.name


def entry(values: ArrayLike, unit: str, protocol: Mapping[str, Any]) -> Metric:
    """An entry of a card's metrics: a mean over images with its standard error.

    Args:
        values: one per image.
        unit: unit of the values.
        protocol: how they were measured; the number of images is added.
    """
    values = np.asarray(values, "float64")
    return {
        "value": round(float(values.mean()), 5),
        "standard_error": round(float(values.std() / np.sqrt(len(values))), 5),
        "unit": unit,
        "protocol": {**protocol, "images": len(values)},
    }
