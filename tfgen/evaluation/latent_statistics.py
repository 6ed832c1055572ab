"""Which latents a VAE uses."""

import numpy as np

from tfgen.errors import InputError
from tfgen.models.vae import objectives

ACTIVE_VARIANCE = 0.01


def active_units(model, images):
    """Which latents say something about the images.

    Equation: latent j is active if the variance over the images of `encode`'s z_j exceeds 0.01.
    With a Gaussian posterior and a normal prior that is the mean of q(z_j|x), as in the paper; with
    flows it is the mean, bent and straightened by them.

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


def divergence_per_latent(model, images):
    """The mean over the images of KL(q(z_j|x) || p(z_j)) of each latent.

    Shapes: uint8 `[N, H, W, C] -> float64 [D]`, nats.

    Raises:
        InputError: a flow prior or posterior, whose latents depend on each other.

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
            f"{model.name}: KL of each latent needs prior='normal' and posterior='gaussian'; under "
            "a flow the latents depend on each other"
        )
    parts = []
    for start in range(0, len(images), 256):
        observed = model.observe(images[start : start + 256])
        mean, log_variance, _ = model.posterior.parameters(model.encoder_outputs(observed))
        parts.append(objectives.gaussian_divergences(mean, log_variance))
    return np.concatenate(parts).astype("float64").mean(axis=0)
