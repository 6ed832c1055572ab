"""The figures of a model on a split, each with its protocol."""

import numpy as np


def evaluate(model, images, *, data, split):
    """Mean log-likelihood of images, for a card.

    Shapes: uint8 `[N, H, W, C]`.

    Args:
        model: speaks `log_prob`.
        images: of the split.
        data, split: their names.

    Returns:
        A JSON-able dict from the metric's name to its value, unit and protocol: `bits_per_dim` and
        `nats`, the means over the images, with the standard error of the mean.

    Example:

    >>> import numpy as np, tfgen
    >>> from tfgen.training.evaluation import evaluate
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> figures = evaluate(model, np.zeros((5, 8, 8, 1), "uint8"), data="digits", split="test")
    >>> figures["nats"]["protocol"]["dims"], figures["nats"]["protocol"]["images"]
    (64, 5)
    """
    protocol = {"data": data, "split": split, "images": len(images), **model.protocol}
    nats = -np.asarray(model.log_prob(images), "float64")
    bits = np.asarray(nats / (model.num_dims * np.log(2.0)))

    def figure(values, unit):
        return {
            "value": round(float(values.mean()), 5),
            "standard_error": round(float(values.std() / np.sqrt(len(values))), 5),
            "unit": unit,
            "protocol": protocol,
        }

    return {"bits_per_dim": figure(bits, "bits/dim"), "nats": figure(nats, "nats/image")}
