"""Pictures of a model's latent space: its 2-D manifold, samples by temperature, and all of them."""

import numpy as np
import tensorflow as tf

from tfgen.errors import InputError
from tfgen.evaluation.pictures import grid, interpolation, reconstructions

TEMPERATURES = (0.0, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)


def manifold(model, side=20):
    """What a model of two latents decodes at a regular grid of quantiles.

    Equation: the image in row i and column j is decode(F^-1((j + 1/2) / side),
    F^-1((i + 1/2) / side)), with F^-1 the inverse cumulative distribution function of the standard
    normal, so that each image stands for the same probability of the prior.

    Args:
        model: a `tfgen.models.VAE` of two latents.
        side: images in a row and in a column.

    Raises:
        InputError: a model of another number of latents.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (1312.6114), figure 4.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import latent_pictures
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> latent_pictures.manifold(model, side=4).size
    (518, 518)
    """
    if model.latent_dim != 2:
        raise InputError(f"a manifold needs a model of 2 latents, this one has {model.latent_dim}")
    quantiles = tf.math.ndtri((np.arange(side) + 0.5).astype("float32") / side).numpy()
    rows, columns = np.meshgrid(quantiles, quantiles, indexing="ij")
    latents = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    return grid(model.decode(latents), columns=side)


def temperatures(model, values=TEMPERATURES, columns=8, seed=0):
    """Samples of the same noise, a row for each temperature.

    Args:
        model: speaks `sample`.
        values: the temperatures, from the top.
        columns: samples in a row.
        seed: of the noise.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import latent_pictures
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=4, hidden_units=[16])
    >>> latent_pictures.temperatures(model, values=(0.5, 1.0), columns=4).size
    (518, 266)
    """
    rows = [model.sample(columns, temperature=value, seed=seed) for value in values]
    return grid(np.concatenate(rows), columns=columns)


def of_vae(model, images):
    """Reconstructions, interpolation, temperatures and, with two latents, the manifold.

    Args:
        model: a `tfgen.models.VAE`.
        images: to reconstruct, and between which to interpolate.

    Returns:
        A dict from each picture's name to a `PIL.Image`.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import latent_pictures
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> list(latent_pictures.of_vae(model, tfgen.data.load("digits").images("test")[:8]))
    ['reconstructions', 'interpolation', 'temperatures', 'manifold']
    """
    made = {
        "reconstructions": reconstructions(model, images),
        "interpolation": interpolation(model, images),
        "temperatures": temperatures(model),
    }
    return made | ({"manifold": manifold(model)} if model.latent_dim == 2 else {})
