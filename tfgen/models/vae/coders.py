"""The encoder and the decoder of a VAE: built by name, or given by the caller."""

from __future__ import annotations

import math

import keras

from tfgen import networks
from tfgen.errors import InputError
from tfgen.networks.invertible_use import dependence
from tfgen.networks.shapes import check_shapes

NETWORKS = ("mlp", "conv")


def encoder(
    network: str | dict | keras.Model,
    image_shape: tuple[int, ...],
    num_outputs: int,
    settings: dict,
    name: str,
) -> keras.Model:
    """The encoder, from observed images (flattened for "mlp") to `num_outputs` numbers.

    Args:
        network: "mlp", "conv", a Keras model, or the configuration of one.
        image_shape: (H, W, C).
        num_outputs: number of the posterior's parameters.
        settings: the arguments of the `VAE`.
        name: name of the model.

    Raises:
        InputError: the given network has other input or output shapes, or cannot be computed again
            for `num_backward_samples`.
    """
    if network not in NETWORKS:
        return _checked(network, f"{name}: encoder", image_shape, (num_outputs,), settings)
    options = _options(settings, f"{name}_encoder")
    if network == "mlp":
        return networks.mlp(
            math.prod(image_shape), num_outputs, widths=settings["hidden_units"], **options
        )
    return networks.residual_encoder(
        image_shape,
        num_outputs,
        channels=settings["channels"],
        hidden_units=settings["hidden_units"],
        blocks=settings["blocks"],
        **options,
    )


def decoder(
    network: str | dict | keras.Model,
    latent_dim: int,
    output_shape: tuple[int, ...],
    settings: dict,
    name: str,
) -> keras.Model:
    """The decoder, from latents to the likelihood's parameters (flattened for "mlp").

    Args:
        network: "mlp", "conv", a Keras model, or the configuration of one.
        latent_dim: size of a latent vector.
        output_shape: (H, W, C P) with P parameters of the likelihood per pixel.
        settings: the arguments of the `VAE`.
        name: name of the model.

    Raises:
        InputError: the given network has other input or output shapes, or cannot be computed again
            for `num_backward_samples`.
    """
    if network not in NETWORKS:
        return _checked(network, f"{name}: decoder", (latent_dim,), output_shape, settings)
    options = _options(settings, f"{name}_decoder")
    hidden_units = settings["hidden_units"][::-1]
    if network == "mlp":
        return networks.mlp(latent_dim, math.prod(output_shape), widths=hidden_units, **options)
    return networks.residual_decoder(
        latent_dim,
        output_shape,
        channels=settings["channels"][::-1],
        hidden_units=hidden_units,
        blocks=settings["blocks"],
        **options,
    )


def _options(settings, name):
    dtype = settings["network_dtype"] or "float32"
    return {"activation": settings["activation"], "dtype": dtype, "name": name}


def _checked(network, owner, inputs, outputs, settings):
    if isinstance(network, dict):
        network = keras.saving.deserialize_keras_object(network)
    check_shapes(network, owner, inputs, outputs)
    if settings["num_backward_samples"] and (found := dependence(network, inputs)):
        raise InputError(
            f"{owner}: num_backward_samples computes the outputs for the drawn samples again, and "
            f"they must be the same, but {found}; remove the layer, or set num_backward_samples=0"
        )
    return network
