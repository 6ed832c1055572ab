"""Durations in words."""

from __future__ import annotations


def words(seconds: float) -> str:
    """A duration in seconds, minutes, hours or days, with two digits.

    >>> from tfgen.training.durations import words
    >>> [words(seconds) for seconds in (0.2, 1, 89, 200, 3170, 7200, 6e5)]
    ['0.2 seconds', '1 second', '89 seconds', '3.3 minutes', '53 minutes', '2 hours', '6.9 days']
    """
    for unit, size in (("second", 1.0), ("minute", 60.0), ("hour", 3600.0), ("day", 86400.0)):
        number = seconds / size
        if number < {"second": 120.0, "minute": 120.0, "hour": 48.0}.get(unit, float("inf")):
            break
    digits = 1 if number < 9.95 else 0
    text = f"{number:,.{digits}f}"
    text = text.removesuffix(".0")
    return f"{text} {unit}{'' if text == '1' else 's'}"
