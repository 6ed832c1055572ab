"""An optimizer's state, variable by variable, independent of its layout in memory."""

from __future__ import annotations

import collections
import warnings
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen import checks

if TYPE_CHECKING:
    from tfgen.optimizers.base import AdaptiveOptimizer


def tf_variable(variable: keras.Variable | tf.Variable) -> tf.Variable:
    """The `tf.Variable` of a Keras variable; a `tf.Variable` unchanged."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def slot_variable_name(variable: keras.Variable | tf.Variable, slot: str) -> str:
    """The name of the variable of a slot of `variable`, as Keras forms it."""
    path = getattr(variable, "path", None) or variable.name
    return f"{path.replace('/', '_').replace(':', '_')}_{slot}"


def slot(optimizer: AdaptiveOptimizer, index: int, name: str) -> tf.Tensor:
    """The value of one slot of the variable with this index, in the variable's shape."""
    pack = next((pack for pack in optimizer.packs if index in pack.members), None)
    slots = pack.slots if pack else optimizer.own_slots[index]
    value = tf.convert_to_tensor(slots[checks.choice("slot", name, slots)])
    return pack.split(value)[index] if pack else value


def save(optimizer: AdaptiveOptimizer, store: MutableMapping[str, ArrayLike]) -> None:
    """Write the state under keys that do not depend on which variables are packed together."""
    for key, variable in _named(optimizer).items():
        store[key] = keras.ops.convert_to_numpy(variable)
    for pack in optimizer.packs:
        for name, variable in pack.slots.items():
            for index, value in pack.split(tf.convert_to_tensor(variable)).items():
                store[f"{name}_{index}"] = value.numpy()


def load(optimizer: AdaptiveOptimizer, store: Mapping[str, ArrayLike]) -> None:
    """Read what `save` wrote; warn and change nothing if it is the state of another optimizer.

    The state of an optimizer saved before its first step has counters only; the slots of the
    weights are then left unchanged.
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
            f"The state of optimizer '{optimizer.name}' was not loaded: the file has "
            f"{len(saved & {*named, *slots})} of its {len(named) + len(slots)} entries and "
            f"{len(saved - {*named, *slots})} others. "
            "It was saved by an optimizer with other arguments or other variables.",
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
    """Whether a variable is the number of steps or the learning rate."""
    return variable is optimizer._iterations or variable is optimizer._learning_rate


def _named(optimizer):
    """Key -> variable for unpacked variables: slots by index, the others by a number."""
    slots = {
        f"{name}_{index}": variable
        for index, named in enumerate(optimizer.own_slots)
        for name, variable in named.items()
    }
    packed = [variable for pack in optimizer.packs for variable in pack.slots.values()]
    known = {id(variable) for variable in [*slots.values(), *packed]}
    others = [variable for variable in optimizer.variables if id(variable) not in known]
    return {**{str(number): v for number, v in enumerate(others)}, **slots}


def arrays(optimizer: keras.optimizers.Optimizer) -> dict[str, np.ndarray]:
    """The whole state by name, independent of its layout in memory.

    A slot has the name that Keras gives it: the path of the weight and the name of the slot, with
    underscores. The counters have names of their own. Neither the order of the weights nor which of
    them share a pack changes a name.

    Example:

    >>> import keras, tensorflow as tf
    >>> from tfgen.optimizers import Adam, state
    >>> optimizer = Adam()
    >>> optimizer.build([keras.Variable([1.0], name="bias"), keras.Variable([2.0], name="scale")])
    >>> sorted(name for name in state.arrays(optimizer) if name.endswith("velocity"))
    ['bias_velocity', 'scale_velocity']
    """
    found: dict[str, np.ndarray] = {}
    for variable, names, pack in _named_pieces(optimizer):
        value = tf.convert_to_tensor(tf_variable(variable))
        pieces = [value] if pack is None else pack.split(value).values()
        found.update(zip(names, map(np.array, pieces), strict=True))
    return found


def assign(optimizer: keras.optimizers.Optimizer, values: Mapping[str, np.ndarray]) -> None:
    """Assign the values that `arrays` returned to the state."""
    for variable, names, pack in _named_pieces(optimizer):
        pieces = [values[name] for name in names]
        variable.assign(pieces[0] if pack is None else np.concatenate(list(map(np.ravel, pieces))))


def unique(names: Iterable[str]) -> list[str]:
    """The names, with a number appended to repeated ones.

    >>> from tfgen.optimizers import state
    >>> state.unique(["kernel", "bias", "kernel"])
    ['kernel', 'bias', 'kernel#1']
    """
    counts: collections.Counter[str] = collections.Counter()
    found = []
    for name in names:
        found.append(f"{name}#{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return found


def _named_pieces(optimizer):
    """For each variable: the variable, the names of its pieces, and their pack or None."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    own = {id(variable) for variable in inner.variables}
    scaling = [variable for variable in optimizer.variables if id(variable) not in own]
    packed = [
        (
            variable,
            [slot_variable_name(inner._trainable_variables[i], slot) for i in pack.members],
            pack,
        )
        for pack in getattr(inner, "packs", [])
        for slot, variable in pack.slots.items()
    ]
    in_packs = {id(variable) for variable, _, _ in packed}
    single = [(v, [v.name], None) for v in inner.variables if id(v) not in in_packs]
    single += [(v, [f"loss_scale/{v.name}"], None) for v in scaling]
    found = [*single, *packed]
    names = iter(unique(name for _, pieces, _ in found for name in pieces))
    return [(v, [next(names) for _ in pieces], pack) for v, pieces, pack in found]
