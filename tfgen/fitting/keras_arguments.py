"""Arguments of Keras' `compile`, `fit` and `evaluate` that have no meaning for a likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfgen.errors import InputError

_OF_COMPILE = {
    "loss": "the model is trained by its own log-likelihood; options of the objective are "
    "arguments of the model, and a penalty of a layer is added with add_loss or a regularizer",
    "loss_weights": "there is a single loss",
    "metrics": "Keras' metrics compare predictions with targets, and there are none; the model "
    "reports its own metrics, and a callback can compute others",
    "weighted_metrics": "Keras' metrics compare predictions with targets, and there are none; the "
    "model reports its own metrics, and a callback can compute others",
}


def check_compile_arguments(name: str, options: Mapping[str, Any]) -> None:
    """Check that `compile` gets no argument that would be ignored.

    Args:
        name: name of the model.
        options: the arguments of `compile`.

    Raises:
        InputError: a loss or metrics.
    """
    for argument, reason in _OF_COMPILE.items():
        if options.get(argument) is not None:
            raise InputError(f"{name}: compile takes no {argument}: {reason}")


def check_data_arguments(
    name: str,
    *,
    takes_labels: bool,
    labels: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    source: str = "fit",
) -> None:
    """Check that the data of `fit` and `evaluate` contain nothing that would be ignored.

    Args:
        name: name of the model.
        takes_labels: whether the model has labels.
        labels: labels, or None.
        sample_weight: weights of the images, or None.
        class_weight: weights of the classes, or None.
        source: what the message calls the data.

    Raises:
        InputError: labels for a model without them, weights.
    """
    if class_weight is not None:
        raise InputError(
            f"{name}: class_weight is not supported: a likelihood has no weights; repeat or omit "
            "images of a class instead"
        )
    if sample_weight is not None:
        raise InputError(
            f"{name}: sample weights are not supported: a likelihood has no weights; repeat or "
            "omit images instead"
        )
    if labels is not None and not takes_labels:
        raise InputError(
            f"{name}: {source} has targets, but the model is trained by the likelihood of its "
            "inputs alone and has no classes; give the inputs only"
        )
