"""The weights of another model as the initial weights of training."""

from __future__ import annotations

import json

from tfgen.errors import InputError
from tfgen.files import PathLike
from tfgen.models import preset
from tfgen.models.base import GenerativeModel

TRAINING_ARGUMENTS = {  # Arguments that do not change the weights of a model or what they compute.
    *("name", "memory", "network_dtype"),
    *("binarization", "estimator", "num_monte_carlo_samples", "num_importance_samples"),
    *("iwae_start_step", "num_backward_samples", "beta", "kl_warmup", "free_bits"),
    *("map_num_examples", "mse_weight"),
}


def take_over(directory: PathLike, model: GenerativeModel) -> dict[str, str]:
    """Give a model the weights of the model in a directory.

    The two models may differ only in arguments that concern training, such as
    `num_importance_samples`.

    Args:
        directory: the directory of a finished model, see `tfgen.models.preset`.
        model: a model of the same class, created with the same arguments.

    Returns:
        For a card: the name of the model in the directory and the SHA-256 digest of its weights.

    Raises:
        InputError: the model has another class or other arguments; the errors of `preset.load`.

    Example:

    >>> import tfgen
    >>> from tfgen.training import initial_weights
    >>> pretrained = tfgen.zoo.load("vae-digits")
    >>> model = tfgen.models.VAE(**{**pretrained.get_config(), "num_importance_samples": 50})
    >>> initial_weights.take_over(tfgen.zoo.directory("vae-digits"), model)["name"]
    'vae-digits'
    """
    source, card = preset.load(directory), preset.read_card(directory)
    if type(source) is not type(model):
        raise InputError(
            f"initial weights of {directory}: they belong to a {type(source).__name__}, but the "
            f"recipe's model is a {type(model).__name__}"
        )
    there, here = _arguments(source), _arguments(model)
    if there["image_shape"] != here["image_shape"]:
        shape = there["image_shape"]
        raise InputError(
            f"initial weights of {directory}: they are for images of shape {shape}, but the "
            f"recipe's images have shape {here['image_shape']}"
        )
    differing = [key for key in there if not _same(there[key], here.get(key))]
    if differing:
        raise InputError(
            f"initial weights of {directory}: the model has {_listed(there, differing)}, but the "
            f"recipe's has {_listed(here, differing)}; change the recipe with --set"
        )
    _check_shapes(directory, source, model)
    model.set_weights(source.get_weights())
    return {"name": card["name"], "sha256": card["files"][preset.WEIGHTS]}


def _check_shapes(directory, source, model):
    """Compare shapes, because configurations of custom networks differ in the names of layers."""
    there, here = ([tuple(w.shape) for w in m.weights] for m in (source, model))
    if there != here:
        raise InputError(
            f"initial weights of {directory}: the weights of its custom networks have other shapes "
            "than those of the recipe's model"
        )


def _arguments(model):
    """The arguments of a model as JSON represents them, with lists instead of tuples."""
    arguments = json.loads(json.dumps(model.get_config()))
    return {key: value for key, value in arguments.items() if key not in TRAINING_ARGUMENTS}


def _same(there, here):
    return there == here or (isinstance(there, dict) and isinstance(here, dict))


def _listed(arguments, keys):
    values = {key: arguments.get(key) for key in keys}
    return ", ".join(
        f"{key}=<custom network>" if isinstance(value, dict) else f"{key}={value}"
        for key, value in values.items()
    )
