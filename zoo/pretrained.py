"""Models by name: list, find, load and fetch them, and read their cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfgen import checks
from tfgen.errors import InputError
from tfgen.files import PathLike
from tfgen.zoo import places

if TYPE_CHECKING:
    from tfgen.models.base import GenerativeModel
    from tfgen.zoo.fetching import Progress


def names() -> list[str]:
    """The names of all models on this machine, including those in `<TFGEN_HOME>`.

    >>> import tfgen
    >>> "vae-digits" in tfgen.zoo.list()
    True
    """
    return sorted({name for folder in places.folders() for name in places.versions(folder)})


def versions(name: str) -> list[str]:
    """The versions of a model on this machine, the newest last, as names for `load`.

    >>> import tfgen
    >>> tfgen.zoo.versions("vae-digits")
    ['vae-digits@1']
    """
    found: set[int] = set()
    for folder in places.folders():
        found |= set(places.versions(folder).get(name, {}))
    return [f"{name}@{version}" for version in sorted(found)]


def load(name_or_dir: PathLike, *, network_dtype: str | None = None) -> GenerativeModel:
    """A model with its trained weights; the SHA-256 digests of its files are checked.

    Args:
        name_or_dir: one of `list()`; such a name with a version, as in "glow-digits@1"; or a
            directory that `tfgen-train` or `model.save_preset` wrote. See `directory` for where
            it is searched; without a version, the newest one in the first place that has the
            name is loaded.
        network_dtype: dtype in which the networks compute; by default float32, in which the card
            was measured. With "bfloat16" they may be faster, and the model's `bound` and
            `protocol()` say so: the likelihood is rounded, and a flow does not give every image
            back.

    Returns:
        A `tfgen.models.VAE` or `tfgen.models.Glow`.

    Raises:
        InputError: an unknown name (the message lists the known ones), a directory without a
            finished model, a missing or damaged file, an unknown dtype.

    Example:

    >>> import tfgen
    >>> model = tfgen.zoo.load("glow-digits")
    >>> model.sample(4, temperature=0.8, seed=0).shape
    TensorShape([4, 8, 8, 1])
    >>> tfgen.zoo.load("glow-digits", network_dtype="bfloat16").bound
    'density of the dequantized image, networks in bfloat16, round trips are not exact'
    """
    from tfgen.models import preset

    return preset.load(directory(name_or_dir), network_dtype=network_dtype)


def card(name_or_dir: PathLike) -> dict[str, Any]:
    """A model's card: metrics with their protocol, data, recipe, command, digests.

    Args:
        name_or_dir: as for `load`.

    Returns:
        The content of `card.json`.

    Raises:
        InputError: as for `load`.

    Example:

    >>> import tfgen
    >>> tfgen.zoo.card("glow-digits")["metrics"]["bits_per_dim"]["protocol"]["bits"]
    4
    """
    from tfgen.models import preset

    return preset.read_card(directory(name_or_dir))


def fetch(source: PathLike, *, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """Fetch a model to this machine: see `tfgen.zoo.fetching.fetch`.

    >>> import tfgen
    >>> tfgen.zoo.fetch(tfgen.zoo.directory("vae-digits")).name
    'vae-digits@1'
    """
    from tfgen.zoo import fetching

    return fetching.fetch(source, sha256=sha256, progress=progress)


def directory(name_or_dir: PathLike) -> Path:
    """The directory of a model. These places are searched in this order:

    1. `name_or_dir` as a path
    2. `<TFGEN_HOME>/zoo`, the user's own models
    3. the models that come with tfgen
    4. `<TFGEN_HOME>/fetched`, the fetched models

    Raises:
        InputError: neither a directory nor a known name, or there are only other versions of
            the model.

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
    known = names()
    raise InputError(
        f"no model {str(name_or_dir)!r}: it is neither a directory nor one of {', '.join(known)}"
        f"{checks.did_you_mean(str(name_or_dir), known)}"
    )
