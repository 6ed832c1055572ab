"""Whether a network of the caller's own fits its place."""

import tensorflow as tf

from tfgen.errors import InputError


def check_shapes(network, owner, inputs, outputs, dtype="float32"):
    """Refuse a network that does not map one event shape to the other.

    Args:
        network: a Keras model.
        owner: who needs it, for the message.
        inputs: event shape of what it is given.
        outputs: event shape of what it must give.
        dtype: of what it is given.

    Raises:
        InputError: it refuses such inputs, or gives another shape.

    Example:

    >>> from tfgen.networks import mlp
    >>> from tfgen.networks.shapes import check_shapes
    >>> check_shapes(mlp(3, 4), "decoder", (3,), (5,))
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: decoder must map [N, 3] to [N, 5], it gives [N, 4]
    """
    needed = f"{owner} must map {_batch_of(inputs)} to {_batch_of(outputs)}"
    try:
        found = network(tf.zeros([1, *inputs], dtype))
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise InputError(f"{needed}, it refuses such inputs") from error
    if not hasattr(found, "shape"):
        raise InputError(f"{needed}, it gives a {type(found).__name__}: concatenate its outputs")
    found = tuple(found.shape[1:])
    if found != tuple(outputs):
        raise InputError(f"{needed}, it gives {_batch_of(found)}")


def _batch_of(shape):
    return f"[{', '.join(map(str, ('N', *shape)))}]"
