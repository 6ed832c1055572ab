"""The figures of a model on a split, each with its protocol."""

import numpy as np


def name_with_options(data):
    """A data set's name, with the options that decide what is in it."""
    options = {k: v for k, v in data.provenance.get("options", {}).items() if k != "image_shape"}
    listed = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{data.name} ({listed})" if listed else data.name


def evaluate(model, data, split):
    """Mean log-likelihood of a split, for a card, with `model.num_evaluation_samples`.

    Args:
        model: speaks `log_prob`.
        data: a `tfgen.data.Dataset`.
        split: one of its splits.

    Returns:
        A JSON-able dict from the metric's name to its value, unit and protocol: `bits_per_dim` and
        `nats`, the means over the images, with the standard error of the mean.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation.metrics import evaluate
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> figures = evaluate(model, tfgen.data.load("digits"), "test")
    >>> figures["nats"]["protocol"]["dims"], figures["nats"]["protocol"]["images"]
    (64, 360)
    """
    images, k = data.images(split), model.num_evaluation_samples
    protocol = {"data": name_with_options(data), "split": split, **model.protocol(k)}
    nll = -np.asarray(model.log_prob(images, num_samples=k), "float64")
    bits = nll / (model.num_dims * np.log(2.0))
    return {
        "bits_per_dim": figure(bits, "bits/dim", protocol),
        "nats": figure(nll, "nats/image", protocol),
    }


def figure(values, unit, protocol):
    """An entry of a card's metrics: a mean over images with its standard error.

    Args:
        values: of each image.
        unit: of them.
        protocol: how they were counted, a dict; the number of images is added.
    """
    values = np.asarray(values, "float64")
    return {
        "value": round(float(values.mean()), 5),
        "standard_error": round(float(values.std() / np.sqrt(len(values))), 5),
        "unit": unit,
        "protocol": {**protocol, "images": len(values)},
    }
