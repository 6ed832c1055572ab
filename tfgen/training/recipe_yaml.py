"""YAML of recipes, from which only small trees of plain values are accepted."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from tfgen import checks
from tfgen.errors import InputError

MAX_CHARACTERS = 2**16
MAX_DEPTH = 16  # of lists and mappings in each other
MAX_VALUES = 2000  # of the whole recipe; a value counts each time that an alias repeats it
MAX_ENTRIES = 256  # of a list


def parse(text: str, source: str, kind: str = "YAML") -> Any:
    """The value that a YAML text describes.

    Args:
        text: the text.
        source: the origin of the text, for error messages.
        kind: what the text must be, for error messages.

    Raises:
        InputError: it is not YAML, too large or nested too deeply, or has values other than numbers
            (integers of at most 64 bits), strings, booleans, lists and mappings.

    Example:

    >>> from tfgen.training import recipe_yaml
    >>> recipe_yaml.parse("{latent_dim: 2, hidden_units: [16, 1e3]}", "a recipe")
    {'latent_dim': 2, 'hidden_units': [16, 1000.0]}
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{source} is longer than {MAX_CHARACTERS:,} characters")
    try:
        _check_depth(text, source)
        value = YAML(typ="safe").load(text)
    except InputError:
        raise
    except YAMLError as error:
        line = " ".join(str(error).split())[:400]
        raise InputError(f"{source} is not {kind}: {line}") from None
    except Exception as error:  # ruamel.yaml raises many types for values such as the date 1-99-99
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{source} has a value that cannot be read: {line}") from None
    _check(value, source)
    return value


def _check_depth(text, source):
    """Refuse nesting, which the parser of values follows by recursion, before it is parsed."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _too_deep(source)


def _check(value, source):
    remaining, count = [("", value, 0)], 0
    while remaining:
        key, value, depth = remaining.pop()
        where = f"{source}: {checks.short(key)}" if key else source
        count += 1
        if count > MAX_VALUES:
            raise InputError(f"{source} has more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:  # An alias may contain itself.
            raise _too_deep(source)
        if isinstance(value, dict):
            for name, below in value.items():
                if not isinstance(name, str):
                    raise InputError(f"{where} has the key {checks.shown(name)}, not a string")
                remaining.append((f"{key}.{name}" if key else name, below, depth + 1))
        elif isinstance(value, list):
            if len(value) > MAX_ENTRIES:
                raise InputError(f"{where} has {len(value):,} entries, more than {MAX_ENTRIES}")
            remaining += [(key, below, depth + 1) for below in value]
        elif isinstance(value, bool) or value is None or isinstance(value, str):
            continue
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                raise InputError(f"{where} is {checks.shown(value)}: it must have at most 64 bits")
        elif not isinstance(value, float):
            raise InputError(f"{where} is a {type(value).__name__}: write it as a quoted string")


def _too_deep(source):
    return InputError(f"{source} has more than {MAX_DEPTH} lists and mappings in each other")
