"""The places of models on this machine, and the model that a name refers to.

A name is `NAME`, the newest version in the first place that has it, or `NAME@VERSION`. A model's
directory has a name of either form. The version is in its card; it is 1 if the card has none.
"""

import re
from pathlib import Path

from tfgen.errors import InputError
from tfgen.files import PathLike, home, read_json
from tfgen.models.config_limits import MAX_VERSION
from tfgen.models.preset import CARD

PACKAGED = Path(__file__).parent
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:@([1-9][0-9]{0,17}))?")


def own_folder() -> Path:
    """`<TFGEN_HOME>/zoo`: the user's own models, searched first."""
    return home() / "zoo"


def fetched_folder() -> Path:
    """`<TFGEN_HOME>/fetched`: the fetched models, searched last."""
    return home() / "fetched"


def folders() -> list[Path]:
    """Where a name is searched for, in this order."""
    return [own_folder(), PACKAGED, fetched_folder()]


def parse(name: PathLike) -> tuple[str | None, int | None]:
    """A name and its version, or None without a version; (None, None) for other strings.

    >>> from tfgen.zoo import places
    >>> places.parse("glow-mnist@2"), places.parse("glow-mnist"), places.parse("runs/mine")
    (('glow-mnist', 2), ('glow-mnist', None), (None, None))
    """
    match = _NAME.fullmatch(str(name))
    if not match:
        return None, None
    return match[1], int(match[2]) if match[2] else None


def versions(folder: Path) -> dict[str, dict[int, Path]]:
    """The models in a directory: name -> version -> directory of the model."""
    found: dict[str, dict[int, Path]] = {}
    for card in sorted(folder.glob("*/" + CARD)):
        name, version = parse(card.parent.name)
        if name is not None:
            found.setdefault(name, {})[version or version_of(card)] = card.parent
    return found


def version_of(card: Path) -> int:
    """The version in the file of a card; 1 if it has none or cannot be read."""
    try:
        version = read_json(card).get("version", 1)
    except (InputError, AttributeError):
        return 1  # The error is reported when the model is loaded.
    return version if type(version) is int and 1 <= version <= MAX_VERSION else 1


def find(name: PathLike) -> Path | None:
    """The directory of a model by its name, in the first place that has it, or None.

    Without a version, this is the newest one in that place, even if a later place has a newer one.

    Raises:
        InputError: there are only other versions of the model.
    """
    wanted, version = parse(name)
    if wanted is None:
        return None
    others: set[int] = set()
    for folder in folders():
        there = versions(folder).get(wanted, {})
        if there and version is None:
            return there[max(there)]
        if version in there:
            return there[version]
        others |= set(there)
    if others:
        known = ", ".join(f"{wanted}@{other}" for other in sorted(others))
        raise InputError(f"no version {version} of {wanted!r} on this machine; there are {known}")
    return None
