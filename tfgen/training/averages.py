"""The averaged weights of whatever averaging an optimizer keeps."""

import contextlib

import tensorflow as tf

from tfgen.optimizers import averaged_weights
from tfgen.optimizers.averaging import moving_averages, overwrite
from tfgen.training.loss_scaling import unwrapped


def averaging(optimizer):
    """What the optimizer averages by: "temporal", "ema" or None."""
    if getattr(optimizer, "temporal_averaging", False):
        return "temporal"
    return "ema" if optimizer.use_ema else None


def share_of_the_first_weights(optimizer, steps):
    """How much of a moving average are, after some steps, the weights after the first of them.

    Equation: momentum^(steps - 1); 0 without such an average.

    Example:

    >>> from tfgen.optimizers import Adam
    >>> from tfgen.training.averages import share_of_the_first_weights
    >>> round(share_of_the_first_weights(Adam(use_ema=True, ema_momentum=0.999), 41), 2)
    0.96
    """
    optimizer = unwrapped(optimizer)
    if averaging(optimizer) != "ema":
        return 0.0
    updates = steps // (optimizer.gradient_accumulation_steps or 1)
    return optimizer.ema_momentum ** max(0, updates - 1)


@contextlib.contextmanager
def averaged(model):
    """Within the context the model has its averaged weights, if its optimizer keeps any.

    These are the temporal averages of section 7.2 of the Adam paper (`temporal_averaging=True`)
    or Keras' exponential moving averages (`use_ema=True`). Afterwards the weights are exactly what
    they were.
    """
    optimizer = unwrapped(model.optimizer)
    kind = averaging(optimizer)
    if kind == "temporal":
        with averaged_weights(optimizer):
            yield
    elif kind == "ema":
        with _moving_averages(optimizer):
            yield
    else:
        yield


@contextlib.contextmanager
def _moving_averages(optimizer):
    begun = int(tf.convert_to_tensor(optimizer.iterations)) > 0
    pairs = moving_averages(optimizer) if begun else []
    before = [tf.convert_to_tensor(variable) for variable, _ in pairs]
    try:
        for variable, average in pairs:
            overwrite(variable, average)
        yield
    finally:
        for (variable, _), value in zip(pairs, before, strict=True):
            variable.assign(value)
