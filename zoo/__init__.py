"""Pretrained models: one folder each, and any run directory.

Nothing here touches the network. TensorFlow is imported when a model is loaded, not before.
"""

from pathlib import Path

from tfgen.errors import InputError

_FOLDER = Path(__file__).parent


def list():
    """The names of the pretrained models.

    >>> import tfgen
    >>> "vae-digits" in tfgen.zoo.list()
    True
    """
    return sorted(card.parent.name for card in _FOLDER.glob("*/card.json"))


def load(name_or_dir):
    """A model with its trained weights, the SHA-256 of its files checked.

    Args:
        name_or_dir: one of `list()`, or a directory that `tfgen-train` or `model.save_preset`
            wrote.

    Returns:
        A `tfgen.models.VAE` or `tfgen.models.Glow`.

    Raises:
        InputError: an unknown name (the message lists those there are), a directory without a
            finished model, a file that is missing or damaged.

    Example:

    >>> import tfgen
    >>> model = tfgen.zoo.load("glow-digits")
    >>> model.sample(4, temperature=0.8, seed=0).shape
    TensorShape([4, 8, 8, 1])
    """
    from tfgen.models import preset

    return preset.load(directory(name_or_dir))


def card(name_or_dir):
    """What is known of a model: figures with their protocol, data, recipe, command, digests.

    Args:
        name_or_dir: as for `load`.

    Returns:
        A dict, the content of `card.json`.

    Raises:
        InputError: as `load`.

    Example:

    >>> import tfgen
    >>> tfgen.zoo.card("glow-digits")["metrics"]["bits_per_dim"]["protocol"]["bits"]
    4
    """
    from tfgen.models import preset

    return preset.read_card(directory(name_or_dir))


def directory(name_or_dir):
    """The directory of a pretrained model, or the one that was given.

    A directory with a model in it wins over a pretrained model of its name.

    Raises:
        InputError: neither a directory nor a known name.
    """
    path = Path(name_or_dir)
    if (path / "card.json").is_file():
        return path
    if str(name_or_dir) in list():
        return _FOLDER / name_or_dir
    if path.is_dir():
        return path
    raise InputError(
        f"no model {str(name_or_dir)!r}: it is neither a directory nor one of {', '.join(list())}"
    )
