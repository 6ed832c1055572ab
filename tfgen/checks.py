"""Checks of arguments: each returns the value in its plain Python type, or raises an `InputError`.

The message begins with `name`, the name of the argument; where the argument alone is ambiguous, its
owner comes first, as in "glow: levels".
"""

import difflib
import math
import numbers
import operator
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

from tfgen.errors import InputError

_MOST_CHARACTERS = 80


class _Short(reprlib.Repr):
    """`repr` of the beginning of a value; it takes no longer for a larger value."""

    def __init__(self):
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 6
        self.maxstring = self.maxother = _MOST_CHARACTERS
        self.maxlevel = 3

    def repr_int(self, x, level):
        return repr(x) if x.bit_length() <= 256 else f"an integer of {x.bit_length():,} bits"

    def repr_str(self, x, level):
        return repr(x) if len(x) <= self.maxstring else super().repr_str(x, level)

    def repr_instance(self, x, level):
        try:
            return super().repr_instance(x, level)
        except Exception:
            return f"a {type(x).__name__}"


_SHORT = _Short()


def shown(value: Any) -> str:
    """A value in a message: its `repr`, shortened if it is long.

    Args:
        value: any value.

    Example:

    >>> from tfgen import checks
    >>> checks.shown("vae"), checks.shown([0] * 1000), checks.shown(10**5000)
    ("'vae'", '[0, 0, 0, 0, 0, 0, ...]', 'an integer of 16,610 bits')
    """
    return short(_SHORT.repr(value), 4 * _MOST_CHARACTERS)


def short(text: str, most: int = 100) -> str:
    """The beginning of a text in a message.

    >>> from tfgen import checks
    >>> checks.short("a key that is long", 9)
    'a key tha...'
    """
    return text if len(text) <= most else f"{text[:most]}..."


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Returns `value` as an int if it is an integer, of Python or NumPy, within the bounds.

    Args:
        name: name of the argument.
        value: value of the argument; booleans are refused.
        low, high: the inclusive bounds; None for no bound.

    Raises:
        InputError: it is not an integer, or out of bounds.

    Example:

    >>> from tfgen import checks
    >>> checks.integer("depth", 4, 1)
    4
    >>> checks.integer("num_bits", 9, 1, 8)
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: num_bits must be an integer from 1 to 8, got 9
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        found = operator.index(value)
    except TypeError:
        found = None
    within = found is not None and (low is None or found >= low) and (high is None or found <= high)
    if found is None or not within:
        raise InputError(f"{name} must be {_integers(low, high)}, got {shown(value)}")
    return found


def _integers(low: int | None, high: int | None) -> str:
    if low is None and high is None:
        return "an integer"
    if high is None:
        return "a positive integer" if low == 1 else f"an integer of at least {low}"
    if low is None:
        return f"an integer of at most {high}"
    return f"an integer from {low} to {high}"


def number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Returns `value` as a float if it is a finite real number within the interval.

    Args:
        name: name of the argument.
        value: value of the argument.
        low, high: the ends of the interval.
        open_low, open_high: whether the interval excludes its end.

    Raises:
        InputError: it is not a number, not finite, or outside the interval.

    Example:

    >>> from tfgen import checks
    >>> checks.number("beta_1", 0.9, 0, 1, open_high=True)
    0.9
    >>> checks.number("beta_1", 1, 0, 1, open_high=True)
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: beta_1 must be a number in [0, 1), got 1
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    above = is_number and (value > low if open_low else value >= low)
    below = is_number and (value < high if open_high else value <= high)
    if not (above and below and math.isfinite(value)):
        allowed = _interval(low, high, open_low, open_high)
        raise InputError(f"{name} must be a {allowed}, got {shown(value)}")
    return float(value)


def _interval(low: float, high: float, open_low: bool, open_high: bool) -> str:
    if high < math.inf:
        return f"number in {'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
    if low > -math.inf:
        return f"number {'>' if open_low else '>='} {low}"
    return "finite number"


def choice(name: str, value: Any, known: Iterable[Any]) -> Any:
    """Returns `value` if it is one of the allowed values.

    Args:
        name: name of the argument.
        value: value of the argument.
        known: the allowed values.

    Raises:
        InputError: `value` is not one of them; the message lists them, and repeats similar ones.

    Example:

    >>> from tfgen import checks
    >>> checks.choice("coupling", "affine", ("affine", "additive"))
    'affine'
    """
    known = list(known)
    if not any(type(value) is type(one) and value == one for one in known):
        listed = ", ".join(map(str, known))
        hint = did_you_mean(value, [one for one in known if isinstance(one, str)])
        raise InputError(f"{name} must be one of {listed}, got {shown(value)}{hint}")
    return value


def did_you_mean(value: Any, known: Iterable[str]) -> str:
    """The end of an error message for a misspelt name: up to three similar names.

    Args:
        value: the name that is not known.
        known: the known names.

    Returns:
        A string such as `"; did you mean mnist?"`, empty if no known name is similar.

    Example:

    >>> from tfgen import checks
    >>> checks.did_you_mean("evalute", ["evaluate", "export"]), checks.did_you_mean("x", ["export"])
    ('; did you mean evaluate?', '')
    """
    if not isinstance(value, str):
        return ""
    value = value[:_MOST_CHARACTERS]  # The time of a comparison grows with its length.
    by_lower_case = {name.lower(): name for name in known}
    ratios = {
        name: difflib.SequenceMatcher(None, value.lower(), name).ratio()
        for name in difflib.get_close_matches(value.lower(), by_lower_case)
    }
    similar = [by_lower_case[name] for name in ratios if ratios[name] > max(ratios.values()) - 0.1]
    return f"; did you mean {' or '.join(similar)}?" if similar else ""


def integers(name: str, value: Any, low: int | None = None) -> list[int]:
    """Returns `value` as a list of ints if it is a list or a tuple of integers.

    Args:
        name: name of the argument.
        value: value of the argument.
        low: the inclusive lower bound of each; None for no bound.

    Raises:
        InputError: it is not a list, or an element is not such an integer.

    Example:

    >>> from tfgen import checks
    >>> checks.integers("hidden_units", (200, 200), 1)
    [200, 200]
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InputError(f"{name} must be a list of integers such as [500], got {shown(value)}")
    return [integer(f"{name}[{index}]", element, low) for index, element in enumerate(value)]


def image_shape(name: str, value: Any, channels: Sequence[int] | None = None) -> tuple[int, ...]:
    """Returns `value` as the tuple (H, W, C) if it consists of three positive integers.

    Args:
        name: name of the argument.
        value: value of the argument.
        channels: the allowed numbers of channels; None for any.

    Raises:
        InputError: `value` is not such a shape, or has another number of channels.

    Example:

    >>> from tfgen import checks
    >>> checks.image_shape("image_shape", [28, 28, 1])
    (28, 28, 1)
    """
    try:
        shape = tuple(integer(name, size, 1) for size in value)
    except (TypeError, InputError):
        shape = ()
    if len(shape) != 3 or (channels is not None and shape[2] not in channels):
        kind = "" if channels is None else f" with C one of {', '.join(map(str, channels))}"
        raise InputError(
            f"{name} must be (H, W, C), three positive integers{kind}, got {shown(value)}"
        )
    return shape
