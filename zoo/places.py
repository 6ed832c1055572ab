"""Where models lie on this machine, and which of them a name means.

A name is `NAME`, the newest version of the first place that has it, or `NAME@VERSION`. A folder is
called by the one or the other; the version is in its card, 1 where the card has none.
"""

import json
import re
from pathlib import Path

from tfgen.errors import InputError
from tfgen.files import home
from tfgen.models.preset import CARD

PACKAGED = Path(__file__).parent
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:@([1-9][0-9]{0,5}))?")


def own_folder():
    """Models of the user's, before all others: `<TFGEN_HOME>/zoo`."""
    return home() / "zoo"


def cache_folder():
    """What `fetch` has brought, after all others: `<TFGEN_HOME>/fetched`."""
    return home() / "fetched"


def folders():
    """Where a name is looked for, in this order."""
    return [own_folder(), PACKAGED, cache_folder()]


def parse(name):
    """A name and a version, None where it says none; None twice for what is no name.

    >>> from tfgen.zoo import places
    >>> places.parse("glow-mnist@2"), places.parse("glow-mnist"), places.parse("runs/mine")
    (('glow-mnist', 2), ('glow-mnist', None), (None, None))
    """
    match = _NAME.fullmatch(str(name))
    if not match:
        return None, None
    return match[1], int(match[2]) if match[2] else None


def versions(folder):
    """The models of a folder: a dict from names to dicts from versions to directories."""
    found = {}
    for card in sorted(folder.glob("*/" + CARD)):
        name, of_folder = parse(card.parent.name)
        if name is None:
            continue
        found.setdefault(name, {})[of_folder or version_of(card)] = card.parent
    return found


def version_of(card):
    """The version that a card's file says, 1 where it says none or cannot be read."""
    try:
        version = json.loads(card.read_text("utf-8")).get("version", 1)
    except (OSError, ValueError, AttributeError):
        return 1  # Loading it says what is wrong.
    return version if isinstance(version, int) else 1


def find(name):
    """The directory of a model by its name, in the first folder that has it; None if none has.

    Without a version it is the newest in that folder, even if a later folder has a newer one.

    Raises:
        InputError: there are other versions of it only.
    """
    wanted, version = parse(name)
    if wanted is None:
        return None
    others = set()
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
