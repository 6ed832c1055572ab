"""Pretrained models: one folder each, and any run directory.

Nothing here touches the network but `fetch`. TensorFlow is imported when a model is loaded, not
before.
"""

from pathlib import Path

from tfgen.errors import InputError
from tfgen.zoo import places

__all__ = ["card", "directory", "fetch", "list", "load", "versions"]


def list():
    """The names of the models on this machine, those of `fetch` and of `<TFGEN_HOME>/zoo` included.

    >>> import tfgen
    >>> "vae-digits" in tfgen.zoo.list()
    True
    """
    return sorted({name for folder in places.folders() for name in places.versions(folder)})


def versions(name):
    """The versions of a model on this machine, the newest last, as names that `load` takes.

    >>> import tfgen
    >>> tfgen.zoo.versions("vae-digits")
    ['vae-digits@1']
    """
    found = set()
    for folder in places.folders():
        found |= set(places.versions(folder).get(name, {}))
    return [f"{name}@{version}" for version in sorted(found)]


def load(name_or_dir):
    """A model with its trained weights, the SHA-256 of its files checked.

    Args:
        name_or_dir: one of `list()`; such a name with the version, as in "glow-digits@1"; or a
            directory that `tfgen-train` or `model.save_preset` wrote. `directory` says where it is
            looked for; without a version it is the newest of the first place that has the name.

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


def fetch(source, *, sha256=None, progress=None):
    """Bring a model to this machine: see `tfgen.zoo.fetching.fetch`.

    >>> import tfgen
    >>> tfgen.zoo.fetch(tfgen.zoo.directory("vae-digits")).name
    'vae-digits@1'
    """
    from tfgen.zoo import fetching

    return fetching.fetch(source, sha256=sha256, progress=progress)


def directory(name_or_dir):
    """The directory of a model: the first of these that holds it.

    1. the path itself, if a model is there
    2. `<TFGEN_HOME>/zoo`, your own models
    3. the models that come with tfgen
    4. `<TFGEN_HOME>/fetched`, what `fetch` has brought

    Raises:
        InputError: neither a directory nor a known name, or another version of it only.

    Example:

    >>> import tfgen
    >>> tfgen.zoo.directory("vae-digits@1").name
    'vae-digits'
    """
    path = Path(name_or_dir)
    if (path / "card.json").is_file():
        return path
    found = places.find(name_or_dir)
    if found is not None:
        return found
    if path.is_dir():
        return path
    raise InputError(
        f"no model {str(name_or_dir)!r}: it is neither a directory nor one of {', '.join(list())}"
    )
