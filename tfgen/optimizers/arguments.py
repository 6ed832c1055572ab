"""Checks of an optimizer's arguments, beyond those of `tfgen.checks`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from tfgen import checks
from tfgen.errors import InputError


def decay_rates(beta_1: float, beta_2: float) -> tuple[float, float]:
    """Both decay rates as floats, with a warning where the convergence proof does not apply.

    Theorem 4.1 of the Adam paper requires beta_1² < √beta_2.

    Raises:
        InputError: a rate outside [0, 1).
    """
    beta_1 = checks.number("beta_1", beta_1, 0, 1, open_high=True)
    beta_2 = checks.number("beta_2", beta_2, 0, 1, open_high=True)
    if beta_1**2 >= math.sqrt(beta_2) and beta_1 > 0:
        warnings.warn(
            f"beta_1={beta_1} and beta_2={beta_2}: the convergence proof of Adam (theorem 4.1) "
            "requires beta_1**2 < sqrt(beta_2)",
            stacklevel=4,  # the caller of the subclass
        )
    return beta_1, beta_2


def averaging_momentum(value: float | None, temporal_averaging: bool) -> float | None:
    """The decay rate of temporal averages as a float, or None for beta_2.

    Raises:
        InputError: a rate outside [0, 1), or a rate without `temporal_averaging`.
    """
    if value is None:
        return None
    if not temporal_averaging:
        raise InputError(
            f"averaging_momentum={value} needs temporal_averaging=True; Keras' use_ema has "
            "ema_momentum"
        )
    return checks.number("averaging_momentum", value, 0, 1, open_high=True)


def learning_rate(value: float | Callable[..., Any]) -> float | Callable[..., Any]:
    """A rate ≥ 0 as a float; a schedule or another callable unchanged.

    Raises:
        InputError: a number below 0, or something that is neither a number nor callable.
    """
    return value if callable(value) else checks.number("learning_rate", value, 0)


def keras_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the arguments of `keras.optimizers.Optimizer` for which Keras accepts any number.

    Raises:
        InputError: a value out of range.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    if "weight_decay" in given:
        checks.number("weight_decay", given["weight_decay"], 0)
    for name in ("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"):
        if name in given:
            checks.number(name, given[name], 0, open_low=True)
    if "gradient_accumulation_steps" in given:
        checks.integer("gradient_accumulation_steps", given["gradient_accumulation_steps"], 2)
