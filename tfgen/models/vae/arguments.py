"""Checks of the arguments of a VAE."""

from __future__ import annotations

from typing import Any

import keras

from tfgen import checks
from tfgen.errors import InputError
from tfgen.models.vae.coders import NETWORKS
from tfgen.models.vae.likelihoods import BINARIZATIONS, LIKELIHOODS, NEIGHBOURS
from tfgen.networks import precision

_CHOICES = {
    "likelihood": tuple(LIKELIHOODS),
    "binarization": BINARIZATIONS,
    "estimator": ("B", "A"),
    "prior": ("normal", "flow"),
    "posterior": ("gaussian", "flow"),
}
_SIZES = (
    *("latent_dim", "num_monte_carlo_samples", "num_importance_samples"),
    *("blocks", "flow_steps", "flow_width"),
)
_AMOUNTS = ("iwae_start_step", "beta", "kl_warmup", "free_bits", "map_num_examples", "mse_weight")


def checked(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """The checked arguments, with the sizes of layers as lists of integers.

    Raises:
        InputError: an unknown choice, a size below 1, a negative amount, or arguments that exclude
            each other.
    """
    settings = dict(settings)
    for argument, possible in _CHOICES.items():
        checks.choice(f"{name}: {argument}", settings[argument], possible)
    for argument in _SIZES:
        settings[argument] = checks.integer(f"{name}: {argument}", settings[argument], 1)
    precision.checked(f"{name}: network_dtype", settings["network_dtype"])
    for argument in ("hidden_units", "channels"):
        settings[argument] = checks.integers(f"{name}: {argument}", settings[argument], 1)
    for argument in _AMOUNTS:
        value = checks.number(f"{name}: {argument}", settings[argument], 0)
        settings[argument] = int(value) if isinstance(settings[argument], int) else value
    most = settings["num_importance_samples"]
    for argument, high in (("num_backward_samples", most), ("neighbours", len(NEIGHBOURS))):
        settings[argument] = checks.integer(f"{name}: {argument}", settings[argument], 0, high)
    for argument in ("encoder", "decoder"):
        value = settings[argument]
        if value not in NETWORKS and not isinstance(value, (keras.Model, dict)):
            raise InputError(
                f"{name}: {argument} must be one of {', '.join(NETWORKS)} or a keras.Model, "
                f"got {value!r}"
            )
    if settings["free_bits"] and most > 1:
        raise InputError(
            f"{name}: free_bits sets a minimum for a KL term, but the bound with "
            f"num_importance_samples={most} has no such term; omit one of the two"
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
    return settings
