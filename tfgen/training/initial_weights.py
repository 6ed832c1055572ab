"""Where a training begins if not at random weights: at those of another model."""

import json

from tfgen.errors import InputError
from tfgen.models import preset

OF_TRAINING = {  # Arguments of a model that change neither its weights nor what they compute.
    *("name", "memory", "network_dtype"),
    *("binarization", "estimator", "num_monte_carlo_samples", "num_importance_samples"),
    *(
        "iwae_start_step",
        "num_backward_samples",
        "beta",
        "kl_warmup",
        "free_bits",
        "map_num_examples",
        "mse_weight",
    ),
}


def take_over(directory, model):
    """Give a model the weights of a directory, and say which they are.

    The two may differ in what is of the training alone, such as `num_importance_samples`, and in
    nothing else.

    Args:
        directory: of a finished model, see `tfgen.models.preset`.
        model: of the same class, made with the same arguments.

    Returns:
        A dict for a card: the name of the model there and the SHA-256 of its weights.

    Raises:
        InputError: another class or other arguments; and as `preset.load`.

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
            f"initial weights of {directory}: they are of a {type(source).__name__}, and the "
            f"recipe's model is a {type(model).__name__}"
        )
    there, here = _arguments(source), _arguments(model)
    if there["image_shape"] != here["image_shape"]:
        shape = there["image_shape"]
        raise InputError(
            f"initial weights of {directory}: they are for images of {shape}, and the recipe's "
            f"are of {here['image_shape']}"
        )
    differing = [key for key in there if not _same(there[key], here.get(key))]
    if differing:
        raise InputError(
            f"initial weights of {directory}: it was made with {_listed(there, differing)}, and "
            f"the recipe's model with {_listed(here, differing)}; bring them together with --set"
        )
    _check_shapes(directory, source, model)
    model.set_weights(source.get_weights())
    return {"name": card["name"], "sha256": card["files"][preset.WEIGHTS]}


def _check_shapes(directory, source, model):
    """For networks of the caller's own, whose configurations name their layers anew each time."""
    there, here = ([tuple(w.shape) for w in m.weights] for m in (source, model))
    if there != here:
        raise InputError(
            f"initial weights of {directory}: its own networks have weights of other shapes than "
            "those of the model"
        )


def _arguments(model):
    """As a file would hold them: lists for tuples."""
    arguments = json.loads(json.dumps(model.get_config()))
    return {key: value for key, value in arguments.items() if key not in OF_TRAINING}


def _same(there, here):
    return there == here or (isinstance(there, dict) and isinstance(here, dict))


def _listed(arguments, keys):
    values = {key: arguments.get(key) for key in keys}
    return ", ".join(
        f"{key}=<a network of its own>" if isinstance(value, dict) else f"{key}={value}"
        for key, value in values.items()
    )
