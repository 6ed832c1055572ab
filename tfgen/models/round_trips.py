"""Whether a flow's latents give its images back.

A flow is invertible in exact arithmetic. In float32, with images unlike those it was trained on,
its latents and the derivatives of its inverse can become so large that rounding errors exceed half
a level, or that the latents overflow. Such images are refused.

Source: Behrmann et al., Understanding and mitigating exploding inverses in invertible neural
networks, 2021 (2006.09347).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfgen.errors import InputError

ROUNDING = 2.0**-20  # eight units in the last place
USUAL = 5.0  # standard deviations; latents of other images are decoded for comparison
REFUSAL = (
    "the latents of some images do not give them back in float32, because the images are too "
    "unlike those that the model was trained on"
)


def as_seen(images: tf.Tensor, num_bits: int) -> tf.Tensor:
    """The images as a model of `num_bits` gives them back: uint8 `[N, ...] -> uint8 [N, ...]`.

    Equation: 255 l / (2^n - 1), with l the upper n bits, rounded.

    >>> from tfgen.models.round_trips import as_seen
    >>> print(as_seen([0, 100, 255], 8).numpy(), as_seen([0, 100, 255], 1).numpy())
    [  0 100 255] [  0   0 255]
    """
    dropped = tf.constant(8 - num_bits, tf.uint8)
    levels = tf.bitwise.right_shift(tf.convert_to_tensor(images, tf.uint8), dropped)
    factor = 255.0 / (2.0**num_bits - 1.0)
    return tf.cast(tf.round(tf.cast(levels, tf.float32) * factor), tf.uint8)


def unusual(latents: tf.Tensor) -> tf.Tensor:
    """Whether latents leave [-5, 5] or are not finite: `[N, D] -> bool [N]`.

    Five standard deviations are beyond the latents of most images that a model was trained on.
    Latents within them are not decoded for comparison: among thousands of distorted and artificial
    images, those that the pretrained models do not give back had latents beyond 7.
    """
    return ~(tf.reduce_max(tf.abs(latents), axis=-1) <= USUAL)


def given_back(
    images: tf.Tensor,
    latents: tf.Tensor,
    decode: Callable[[tf.Tensor], tf.Tensor],
    num_bits: int,
) -> tf.Tensor:
    """Whether unusual latents decode to the images: a bool for each row that is `unusual`.

    They must do so in spite of another rounding of the latents as well, so that other runtimes,
    which round otherwise, give the images back too.

    Args:
        images: uint8 `[N, H, W, C]`.
        latents: of the images, `[N, D]`.
        decode: a function from latents to images.
        num_bits: bits per channel that the model sees.
    """
    rows = unusual(latents)
    latents, images = tf.boolean_mask(latents, rows), tf.boolean_mask(images, rows)
    finite = tf.math.is_finite(latents)
    latents = tf.where(finite, latents, 0.0)
    expected, same = as_seen(images, num_bits), tf.reduce_all(finite, axis=-1)
    for factor in (1.0, 1.0 + ROUNDING):
        same &= tf.reduce_all(decode(latents * factor) == expected, axis=[1, 2, 3])
    return same


def check(
    name: str,
    images: tf.Tensor,
    latents: tf.Tensor,
    decode: Callable[[tf.Tensor], tf.Tensor],
    num_bits: int,
) -> None:
    """Refuse latents that do not give their images back.

    Args:
        name: name of the model.
        images, latents, decode, num_bits: as for `given_back`.

    Raises:
        InputError: there are such latents; the message has the rows.
    """
    rows = np.flatnonzero(unusual(latents))
    if len(rows):
        rows = rows[~given_back(images, latents, decode, num_bits).numpy()]
    if len(rows):
        listed = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise InputError(
            f"{name}: encode: {REFUSAL} ({len(rows)} of {len(images)} images, rows {listed}): "
            "leave them out; log_prob accepts them"
        )
