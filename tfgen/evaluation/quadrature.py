"""The log-likelihood of a VAE with one or two latents by integration over a grid."""

import math

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen.errors import InputError
from tfgen.models.vae import VAE

MAX_LATENTS = 2
POINTS_PER_BATCH = 2000


def quadrature_log_prob(
    model: VAE, images: ArrayLike, *, limit: float = 6.0, num_points: int = 601
) -> np.ndarray:
    """log of the integral of p(x|z) p(z) over the latents, by the trapezoidal rule.

    The reference for estimators of log p(x). It is exact as long as the posterior of an image is
    wider than the grid's spacing, 2 limit / (num_points - 1).

    Shapes: uint8 `[N, H, W, C] -> float64 [N]`, nats.

    Args:
        model: a VAE with 1 or 2 latents.
        images: as for `model.log_prob`, which uses the same binarization.
        limit: the grid covers [-limit, limit] in each latent.
        num_points: number of grid points in each latent.

    Raises:
        InputError: the model has more than 2 latents.

    Example:

    >>> import keras, tfgen
    >>> from tfgen.evaluation.quadrature import quadrature_log_prob
    >>> keras.utils.set_random_seed(0)
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=1, hidden_units=[8])
    >>> images = tfgen.data.load("digits").images("test")[:2]
    >>> estimates = model.log_prob(images, num_samples=5000).numpy()
    >>> bool((abs(quadrature_log_prob(model, images) - estimates) < 0.05).all())
    True
    """
    if model.latent_dim > MAX_LATENTS:
        raise InputError(
            f"quadrature needs at most {MAX_LATENTS} latents, {model.name} has "
            f"{model.latent_dim}: use log_prob(images, num_samples=5000)"
        )
    observed = model.observe(tf.convert_to_tensor(images))
    axis = np.linspace(-limit, limit, num_points)
    grids = np.meshgrid(*[axis] * model.latent_dim, indexing="ij")
    grid = np.stack(grids, axis=-1).reshape(-1, model.latent_dim).astype("float32")

    @tf.function(reduce_retracing=True)
    def log_joint(latents, observed):
        return model.joint_density(observed, latents[None]).log_prob[0]

    totals = []
    for image in observed:
        parts = [
            log_joint(tf.constant(grid[i : i + POINTS_PER_BATCH]), image[None])
            for i in range(0, len(grid), POINTS_PER_BATCH)
        ]
        values = np.concatenate(parts).astype("float64")
        totals.append(np.logaddexp.reduce(values))
    cell = model.latent_dim * math.log(axis[1] - axis[0])
    return np.array(totals) + cell
