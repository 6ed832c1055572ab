"""The Keras dtype policy of a network."""

from __future__ import annotations

import keras


def policy(dtype: str) -> keras.DTypePolicy:
    """A policy that computes in `dtype` and keeps the weights in at least float32.

    Example:

    >>> from tfgen.networks.precision import policy
    >>> policy("bfloat16").compute_dtype, policy("bfloat16").variable_dtype
    ('bfloat16', 'float32')
    """
    dtype = keras.backend.standardize_dtype(dtype)
    half = dtype in ("bfloat16", "float16")
    return keras.DTypePolicy(f"mixed_{dtype}" if half else dtype)
