"""Checks of the arguments of the verbs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen.errors import InputError


def checked_images(
    name: str, images: ArrayLike | tf.Tensor, image_shape: tuple[int, ...]
) -> tf.Tensor:
    """Images as a tensor.

    Args:
        name: name of the model.
        images: uint8 `[N, *image_shape]`.
        image_shape: (H, W, C).

    Raises:
        InputError: another shape or dtype.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8:
        raise InputError(
            f"{name}: images must be uint8 with values 0 to 255, got {images.dtype.name}"
        )
    if images.shape.rank != 4 or images.shape[1:] != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise InputError(f"{name}: images must have shape [N, {expected}], got {images.shape}")
    return images


def checked_latents(name: str, latents: ArrayLike | tf.Tensor, latent_dim: int) -> tf.Tensor:
    """Latents as a tensor.

    Args:
        name: name of the model.
        latents: float32 `[N, latent_dim]`, finite.
        latent_dim: size of a latent vector.

    Raises:
        InputError: another shape or dtype, or (outside of a graph) numbers that are not finite.
    """
    latents = tf.convert_to_tensor(latents, dtype_hint=tf.float32)
    if latents.dtype != tf.float32 or latents.shape.rank != 2:
        raise InputError(
            f"{name}: latents must be float32 [N, {latent_dim}], "
            f"got {latents.dtype.name} {latents.shape}"
        )
    if latents.shape[1] != latent_dim:
        raise InputError(f"{name}: latents must have shape [N, {latent_dim}], got {latents.shape}")
    if tf.executing_eagerly() and not np.isfinite(latents).all():
        raise InputError(f"{name}: latents must be finite, some are not")
    return latents


def checked_labels(
    name: str, labels: ArrayLike | tf.Tensor, count: int | None, num_classes: int | None
) -> tf.Tensor:
    """Labels as an int32 tensor.

    Args:
        name: name of the model.
        labels: integers `[count]`.
        count: number of images; None if it is unknown inside a graph.
        num_classes: number of classes, which the labels must be below; None for a model without
            classes.

    Raises:
        InputError: a model without classes, another shape or dtype, or (outside of a graph) labels
            out of range.
    """
    if not num_classes:
        raise InputError(f"{name}: this model has no classes, so it takes no labels")
    labels = tf.convert_to_tensor(labels)
    if not labels.dtype.is_integer or not labels.shape.is_compatible_with([count]):
        raise InputError(
            f"{name}: labels must be integers [{'N' if count is None else count}], "
            f"got {labels.dtype.name} {labels.shape}"
        )
    labels = tf.cast(labels, tf.int32)
    if tf.executing_eagerly() and count:
        low, high = int(tf.reduce_min(labels)), int(tf.reduce_max(labels))
        if low < 0 or high >= num_classes:
            raise InputError(
                f"{name}: labels must lie between 0 and {num_classes - 1}, got {low} to {high}"
            )
    return labels
