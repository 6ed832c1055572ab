"""Conversion of all variables of training to arrays by name, and back."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import InputError
from tfgen.optimizers import state as optimizer_state


def arrays_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Name -> array of every weight, of random states and of all the optimizer's state.

    Random states are those of the seed generators of layers such as Dropout, in the order of the
    layers. The other names are the paths of the variables in Keras, so neither the order of the
    layers nor the layout of the optimizer's state in memory matters.

    Args:
        model: a compiled model.

    Example:

    >>> import tfgen
    >>> from tfgen.training import state
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> model.compile(tfgen.optimizers.Adam())
    >>> arrays = state.arrays_of(model)
    >>> list(arrays)[0], list(arrays)[-1]
    ('model/vae_encoder/hidden_0/kernel', 'optimizer/vae_decoder_output_bias_velocity')
    """
    of_optimizer = optimizer_state.arrays(model.optimizer)
    return {
        **weights_of(model),
        **{name: _array(variable) for name, variable in _random_states(model).items()},
        **{f"optimizer/{name}": v for name, v in of_optimizer.items()},
    }


def assign(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Assign the values that `arrays_of` returned to the variables.

    Raises:
        InputError: the arrays belong to another model or optimizer.
    """
    present = arrays_of(model)
    for name in {**present, **arrays}:  # In the model's order: the message names the first one.
        if name not in present or name not in arrays:
            owner = "checkpoint" if name in arrays else "model"
            raise InputError(
                f"the checkpoint belongs to another recipe: {name} is only in the {owner}"
            )
        if arrays[name].shape != present[name].shape:
            raise InputError(
                f"the checkpoint belongs to another recipe: {name} has shape {arrays[name].shape}, "
                f"not {present[name].shape}"
            )
    assign_weights(model, arrays)
    for name, variable in _random_states(model).items():
        variable.assign(arrays[name])
    prefix = "optimizer/"
    of_optimizer = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    optimizer_state.assign(model.optimizer, of_optimizer)


def is_finite(model: keras.Model) -> bool:
    """Whether no trainable weight is NaN or infinite."""
    return all(bool(tf.reduce_all(tf.math.is_finite(weight))) for weight in model.trainable_weights)


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Name -> array of the weights only."""
    return {name: _array(variable) for name, variable in _weights(model).items()}


def assign_weights(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Assign the values that `weights_of` returned to the weights."""
    for name, variable in _weights(model).items():
        variable.assign(arrays[name])


def _array(variable):
    return np.array(tf.convert_to_tensor(variable.value).numpy())


def _weights(model):
    names = optimizer_state.unique(f"model/{weight.path}" for weight in model.weights)
    return dict(zip(names, model.weights, strict=True))


def _random_states(model):
    # Keras numbers seed generators by process, so that their paths do not identify them.
    weights = {id(weight) for weight in model.weights}
    states = [variable for variable in model.variables if id(variable) not in weights]
    return {f"random/{number}": state for number, state in enumerate(states)}
