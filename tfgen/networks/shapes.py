"""Check of the shapes of a network that the caller gives."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen.errors import InputError


def check_shapes(
    network: keras.Layer,
    name: str,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    dtype: str = "float32",
) -> None:
    """Check that a network maps one event shape to the other.

    Args:
        network: a Keras model or layer.
        name: what the error message calls the network.
        input_shape, output_shape: event shapes, without the batch axis.
        dtype: dtype of the inputs.

    Raises:
        InputError: the network does not accept such inputs, or its outputs have another shape.

    Example:

    >>> from tfgen.networks import mlp
    >>> from tfgen.networks.shapes import check_shapes
    >>> check_shapes(mlp(3, 4), "decoder", (3,), (5,))
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: decoder must map [N, 3] to [N, 5], but its output is [N, 4]
    """
    needed = f"{name} must map {_batch_of(input_shape)} to {_batch_of(output_shape)}"
    try:
        found = network(tf.zeros([1, *input_shape], dtype))
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise InputError(f"{needed}, but does not accept such inputs") from error
    if not hasattr(found, "shape"):
        raise InputError(f"{needed}, but returns a {type(found).__name__}: concatenate its outputs")
    found = tuple(found.shape[1:])
    if found != tuple(output_shape):
        raise InputError(f"{needed}, but its output is {_batch_of(found)}")


def _batch_of(shape):
    return f"[{', '.join(map(str, ('N', *shape)))}]"
