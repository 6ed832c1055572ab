"""All variables of a training as arrays, and back."""

import numpy as np
import tensorflow as tf

from tfgen.errors import InputError


def arrays_of(model):
    """Name -> array of every weight and of every variable of the optimizer."""
    return {name: _array(variable) for name, variable in _variables(model).items()}


def assign(model, arrays):
    """Give the variables the values that `arrays_of` took.

    Raises:
        InputError: the arrays of another model or optimizer.
    """
    variables = _variables(model)
    for name in {**variables, **arrays}:  # in the model's order: the message names the first
        if name not in variables or name not in arrays:
            owner = "checkpoint" if name in arrays else "model"
            raise InputError(f"the checkpoint is of another recipe: {name} is only in the {owner}")
        if arrays[name].shape != tuple(variables[name].shape):
            raise InputError(
                f"the checkpoint is of another recipe: {name} has shape {arrays[name].shape}, "
                f"not {tuple(variables[name].shape)}"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def is_finite(model):
    """Whether no weight is NaN or infinite."""
    return all(bool(tf.reduce_all(tf.math.is_finite(weight))) for weight in model.trainable_weights)


def weights_of(model):
    """Name -> array of the weights alone."""
    return {name: _array(variable) for name, variable in _weights(model).items()}


def assign_weights(model, arrays):
    """Give the weights the values that `weights_of` took."""
    for name, variable in _weights(model).items():
        variable.assign(arrays[name])


def _array(variable):
    return np.array(tf.convert_to_tensor(variable.value).numpy())


def _weights(model):
    return {f"weight {i}": variable for i, variable in enumerate(model.weights)}


def _variables(model):
    of_optimizer = {f"optimizer {i}": v for i, v in enumerate(model.optimizer.variables)}
    return {**_weights(model), **of_optimizer}
