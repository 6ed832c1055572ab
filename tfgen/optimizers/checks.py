"""Checks of an optimizer's arguments."""

import math
import numbers
import warnings

from tfgen.errors import InputError


def number(name, value, low=-math.inf, high=math.inf, *, open_low=False, open_high=False):
    """`value` as a float, if it is a finite number of the interval; otherwise an `InputError`.

    Example:

    >>> from tfgen.optimizers import checks
    >>> checks.number("beta_1", 0.9, 0, 1, open_high=True)
    0.9
    >>> checks.number("beta_1", 1, 0, 1, open_high=True)
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: beta_1=1 is out of range: give a number in [0, 1).
    """
    allowed = f"{'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
    if high == math.inf:
        allowed = f"{'>' if open_low else '>='} {low}"
    wrong = InputError(
        f"{name}={value!r} is out of range: give a number "
        + (f"in {allowed}." if high < math.inf else f"{allowed}.")
    )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise wrong
    value = float(value)
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (math.isfinite(value) and above and below):
        raise wrong
    return value


def betas(beta_1, beta_2):
    """Both decay rates as floats, with a warning where the convergence proof does not apply.

    Theorem 4.1 of Adam asks for beta_1² < √beta_2.
    """
    beta_1 = number("beta_1", beta_1, 0, 1, open_high=True)
    beta_2 = number("beta_2", beta_2, 0, 1, open_high=True)
    if beta_1**2 >= math.sqrt(beta_2) and beta_1 > 0:
        warnings.warn(
            f"beta_1={beta_1} and beta_2={beta_2}: the convergence proof of Adam (theorem 4.1) "
            "needs beta_1**2 < sqrt(beta_2).",
            stacklevel=4,
        )
    return beta_1, beta_2


def learning_rate(value):
    """A rate ≥ 0 as a float; a schedule or another callable as it is."""
    return value if callable(value) else number("learning_rate", value, 0)


def keras_arguments(arguments):
    """Check those of Keras' own optimizer arguments for which Keras takes any number."""
    if arguments.get("weight_decay") is not None:
        number("weight_decay", arguments["weight_decay"], 0)
    for name in ("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"):
        if arguments.get(name) is not None:
            number(name, arguments[name], 0, open_low=True)
    steps = arguments.get("gradient_accumulation_steps")
    if steps is not None and number("gradient_accumulation_steps", steps, 2) % 1:
        raise InputError(f"gradient_accumulation_steps={steps!r} is no whole number.")
