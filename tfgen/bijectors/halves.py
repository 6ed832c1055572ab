"""The two halves into which couplings divide the channels."""

from __future__ import annotations

import tensorflow as tf


def half_sizes(channels: int) -> tuple[int, int]:
    """Channels that change and channels that the network sees: (ceil(C / 2), floor(C / 2)).

    Example:

    >>> from tfgen.bijectors.halves import half_sizes
    >>> half_sizes(6), half_sizes(7)
    ((3, 3), (4, 3))
    """
    return channels - channels // 2, channels // 2


def halves(value: tf.Tensor, axis: int = -1) -> list[tf.Tensor]:
    """The part that changes, which comes first, and the part that the network sees."""
    channels = value.shape[axis]
    # An even split is a simpler operation in exported graphs.
    return tf.split(value, half_sizes(channels) if channels % 2 else 2, axis=axis)
