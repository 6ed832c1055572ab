"""What the arguments of a VAE may be."""

import math

import keras

from tfgen.errors import InputError
from tfgen.models.vae.likelihoods import BINARIZATIONS, LIKELIHOODS, NEIGHBOURS
from tfgen.networks.shapes import check_shapes

_CHOICES = {
    "likelihood": tuple(LIKELIHOODS),
    "binarization": BINARIZATIONS,
    "estimator": ("B", "A"),
    "prior": ("normal", "flow"),
    "posterior": ("gaussian", "flow"),
}
_SIZES = (
    "latent_dim",
    "num_monte_carlo_samples",
    "num_importance_samples",
    "blocks",
    "flow_steps",
    "flow_width",
)
_AMOUNTS = ("iwae_start_step", "beta", "kl_warmup", "free_bits", "map_num_examples", "mse_weight")
NETWORKS = ("mlp", "conv")


def check(settings, name):
    """Refuse arguments that are no choice, no size, no amount, or that exclude each other."""
    for argument, possible in _CHOICES.items():
        if settings[argument] not in possible:
            raise InputError(
                f"{name}: {argument} must be one of {', '.join(possible)}, "
                f"got {settings[argument]!r}"
            )
    sizes = {argument: settings[argument] for argument in _SIZES}
    for argument in ("hidden_units", "channels"):
        sizes |= {f"{argument}[{i}]": size for i, size in enumerate(settings[argument])}
    for argument, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name}: {argument} must be a positive integer, got {value!r}")
    for argument in _AMOUNTS:
        value = settings[argument]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise InputError(f"{name}: {argument} must be a number >= 0, got {value!r}")
    samples = settings["num_importance_samples"]
    for argument, most, meaning in (
        ("num_backward_samples", samples, f"num_importance_samples, {samples}"),
        ("neighbours", len(NEIGHBOURS), f"{len(NEIGHBOURS)}"),
    ):
        value = settings[argument]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise InputError(
                f"{name}: {argument} must be an integer from 0 to {meaning}, got {value!r}"
            )
    for argument in ("encoder", "decoder"):
        value = settings[argument]
        if value not in NETWORKS and not isinstance(value, (keras.Model, dict)):
            raise InputError(
                f"{name}: {argument} must be one of {', '.join(NETWORKS)} or a keras.Model, "
                f"got {value!r}"
            )
    if settings["free_bits"] and settings["num_importance_samples"] > 1:
        raise InputError(
            f"{name}: free_bits keep a KL term up, and the bound of num_importance_samples > 1 has "
            "none; give one of the two"
        )
    for argument, default, needed in (
        ("binarization", "dynamic", "bernoulli"),
        ("neighbours", 0, "quantized_logistic"),
    ):
        if settings[argument] != default and settings["likelihood"] != needed:
            raise InputError(
                f"{name}: {argument}={settings[argument]!r} needs likelihood={needed!r}, got "
                f"{settings['likelihood']!r}"
            )


def checked_network(network, owner, inputs, outputs):
    """The caller's network, or the one that a configuration describes."""
    if isinstance(network, dict):
        network = keras.saving.deserialize_keras_object(network)
    check_shapes(network, owner, inputs, outputs)
    return network


def listed(argument, value, name):
    """A list of sizes as a list."""
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{name}: {argument} must be a list such as [500], got {value!r}")
    return list(value)
