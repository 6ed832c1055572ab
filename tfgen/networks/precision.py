"""The dtype in which a network computes."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from tfgen import checks

HALF = ("bfloat16", "float16")
DTYPES = (*HALF, "float32", "float64")


def policy(dtype: str) -> keras.DTypePolicy:
    """A policy that computes in `dtype` and keeps the weights in at least float32.

    Raises:
        InputError: an unknown dtype.

    Example:

    >>> from tfgen.networks.precision import policy
    >>> policy("bfloat16").compute_dtype, policy("bfloat16").variable_dtype
    ('bfloat16', 'float32')
    """
    if not isinstance(dtype, str):
        dtype = keras.backend.standardize_dtype(dtype)
    checked("network_dtype", dtype)
    return keras.DTypePolicy(f"mixed_{dtype}" if dtype in HALF else dtype)


def checked(name: str, dtype: str | None) -> str | None:
    """`dtype`, if a network can compute in it; None, the default, is float32.

    Args:
        name: name of the argument.
        dtype: value of the argument.

    Raises:
        InputError: an unknown dtype.
    """
    return None if dtype is None else checks.choice(name, dtype, DTYPES)


def half_dtype(layers: Iterable[keras.Layer]) -> str | None:
    """The half-precision dtype in which one of the layers computes, or None.

    Example:

    >>> import keras
    >>> from tfgen.networks.precision import half_dtype
    >>> half_dtype([keras.layers.Dense(1), keras.layers.Dense(1, dtype="mixed_bfloat16")])
    'bfloat16'
    """
    found = [
        inner.compute_dtype
        for layer in layers
        for inner in layer._flatten_layers()
        if inner.compute_dtype in HALF
    ]
    return found[0] if found else None
