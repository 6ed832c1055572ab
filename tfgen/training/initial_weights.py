"""Where a training begins if not at random weights: at those of another model."""

from tfgen.errors import InputError
from tfgen.models import preset


def take_over(directory, model):
    """Give a model the weights of a directory, and say which they are.

    The two may differ in what gives no weight its shape, such as `importance_samples` or `beta`.

    Args:
        directory: of a finished model, see `tfgen.models.preset`.
        model: with as many weights, of the same shapes in the same order.

    Returns:
        A dict for a card: the name of the model there and the SHA-256 of its weights.

    Raises:
        InputError: another class or a weight of another shape; and as `preset.load`.

    Example:

    >>> import tfgen
    >>> from tfgen.training import initial_weights
    >>> pretrained = tfgen.zoo.load("vae-digits")
    >>> sharper = tfgen.models.VAE(**{**pretrained.get_config(), "importance_samples": 50})
    >>> initial_weights.take_over(tfgen.zoo.directory("vae-digits"), sharper)["name"]
    'vae-digits'
    """
    source, card = preset.load(directory), preset.read_card(directory)
    if type(source) is not type(model):
        raise InputError(
            f"initial weights of {directory}: they are of a {type(source).__name__}, and the "
            f"recipe's model is a {type(model).__name__}"
        )
    for there, here in zip(source.weights, model.weights, strict=False):
        if tuple(there.shape) != tuple(here.shape):
            raise InputError(
                f"initial weights of {directory}: {there.path} has the shape "
                f"{tuple(there.shape)}, and the recipe's model has {here.path} of "
                f"{tuple(here.shape)}; give it the same architecture with --set"
            )
    if len(source.weights) != len(model.weights):
        raise InputError(
            f"initial weights of {directory}: {len(source.weights)} weights, and the recipe's "
            f"model has {len(model.weights)}; give it the same architecture with --set"
        )
    model.set_weights(source.get_weights())
    return {"name": card["name"], "sha256": card["files"][preset.WEIGHTS]}
