"""An optimizer's state, variable by variable, however it is laid out in memory."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import InputError


def native(variable):
    """The `tf.Variable` of a Keras variable; a `tf.Variable` as it is."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def variable_name(variable, slot):
    """The name of a slot of `variable`, after the pattern of Keras."""
    path = getattr(variable, "path", None) or variable.name
    return f"{path.replace('/', '_').replace(':', '_')}_{slot}"


def slot(optimizer, index, name):
    """The value of one slot of the variable with this index, in the variable's shape."""
    pack = next((pack for pack in optimizer.packs if index in pack.members), None)
    slots = pack.slots if pack else optimizer.own_slots[index]
    if name not in slots:
        raise InputError(f"slot={name!r} is not there: give one of {', '.join(slots)}.")
    value = tf.convert_to_tensor(slots[name])
    return pack.split(value)[index] if pack else value


def save(optimizer, store):
    """Write the state under keys that do not depend on which variables share a pack."""
    for key, variable in _named(optimizer).items():
        store[key] = keras.ops.convert_to_numpy(variable)
    for pack in optimizer.packs:
        for name, variable in pack.slots.items():
            for index, value in pack.split(tf.convert_to_tensor(variable)).items():
                store[f"{name}_{index}"] = value.numpy()


def load(optimizer, store):
    """Read what `save` wrote; warn and change nothing if it is another optimizer's state.

    The state of an optimizer that was saved before its first step has counters only; all that
    belongs to a weight then stays as it is.
    """
    named = _named(optimizer)
    slots = [f"{name}_{i}" for pack in optimizer.packs for name in pack.slots for i in pack.members]
    saved = set(store.keys())
    counters = {key for key, variable in named.items() if _is_counter(optimizer, variable)}
    if "0" in saved and saved <= counters and not np.any(store["0"]):
        named, packs = {key: named[key] for key in saved}, []
    elif saved == {*named, *slots}:
        packs = optimizer.packs
    else:
        warnings.warn(
            f"The state of optimizer '{optimizer.name}' was not loaded: of its "
            f"{len(named) + len(slots)} entries the file has "
            f"{len(saved & {*named, *slots})}, and {len(saved - {*named, *slots})} others. "
            "It was saved by an optimizer with other arguments or for other variables.",
            stacklevel=3,
        )
        return
    for key, variable in named.items():
        variable.assign(np.asarray(store[key]))
    for pack in packs:
        for name, variable in pack.slots.items():
            pieces = [np.ravel(store[f"{name}_{index}"]) for index in pack.members]
            variable.assign(np.concatenate(pieces))


def _is_counter(optimizer, variable):
    """Whether it belongs to no weight: the number of steps, the learning rate."""
    return variable is optimizer._iterations or variable is optimizer._learning_rate


def _named(optimizer):
    """Key -> variable for all that is not packed: slots by index, a number for any other."""
    slots = {
        f"{name}_{index}": variable
        for index, named in enumerate(optimizer.own_slots)
        for name, variable in named.items()
    }
    packed = [variable for pack in optimizer.packs for variable in pack.slots.values()]
    known = {id(variable) for variable in [*slots.values(), *packed]}
    others = [variable for variable in optimizer.variables if id(variable) not in known]
    return {**{str(number): v for number, v in enumerate(others)}, **slots}
