"""Which latents a VAE uses."""

import numpy as np

from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel
from tfgen.models.vae import VAE, objectives

ACTIVE_VARIANCE = 0.01


def active_units(model: GenerativeModel, images: np.ndarray) -> np.ndarray:
    """Which latents depend on the image.

    Equation: latent j is active if the variance over the images of z_j = `encode(x)_j` exceeds
    0.01. With a Gaussian posterior and a normal prior z_j is the mean of q(z_j|x), as in the paper;
    with flows it is that mean, transformed by them.

    Shapes: uint8 `[N, H, W, C] -> bool [D]`.

    Source: Burda, Grosse and Salakhutdinov, 2015 (1509.00519), section 5.2.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import latent_statistics
    >>> model = tfgen.zoo.load("vae-digits")
    >>> images = tfgen.data.load("digits").images("test")
    >>> int(latent_statistics.active_units(model, images).sum())
    8
    """
    return np.var(np.asarray(model.encode(images), "float64"), axis=0) > ACTIVE_VARIANCE


def divergence_per_latent(model: VAE, images: np.ndarray) -> np.ndarray:
    """KL(q(z_j|x) || p(z_j)) of each latent, averaged over the images.

    Shapes: uint8 `[N, H, W, C] -> float64 [D]`, nats.

    Raises:
        InputError: the model has a flow prior or posterior, whose latents depend on each other.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import latent_statistics
    >>> model = tfgen.zoo.load("vae-digits")
    >>> images = tfgen.data.load("digits").images("test")
    >>> latent_statistics.divergence_per_latent(model, images).shape
    (8,)
    """
    if model.settings["prior"] != "normal" or model.settings["posterior"] != "gaussian":
        raise InputError(
            f"{model.name}: the KL divergence per latent needs prior='normal' and "
            "posterior='gaussian'; with a flow the latents depend on each other"
        )
    parts = []
    for start in range(0, len(images), 256):
        observed = model.observe(images[start : start + 256])
        mean, log_variance, _ = model.posterior.parameters(model.encoder_outputs(observed))
        parts.append(objectives.gaussian_divergences(mean, log_variance))
    return np.concatenate(parts).astype("float64").mean(axis=0)
