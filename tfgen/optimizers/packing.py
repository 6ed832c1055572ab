"""Shared slot variables for small variables, so that a step handles fewer variables.

For a variable of a thousand weights the arithmetic takes microseconds; most of a step's time is
the overhead of hundreds of slot variables. A `Pack` concatenates the slots of many small variables
in one flat variable per slot.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

LARGEST_MEMBER = 2**14  # weights; for larger variables the overhead does not matter
LARGEST_PACK = 2**20  # weights; limits the temporaries of a step to a few MiB


@dataclasses.dataclass
class Pack:
    """Variables, by their index in the optimizer, whose slots are in the same flat variables."""

    members: list[int]
    shapes: list[tf.TensorShape]
    slots: dict[str, keras.Variable]

    @property
    def sizes(self) -> list[int]:
        """The number of weights of each member."""
        return [int(np.prod(shape)) for shape in self.shapes]

    def split(self, flat: tf.Tensor) -> dict[int, tf.Tensor]:
        """A flat tensor as one tensor per member, by index."""
        pieces = tf.split(flat, self.sizes)
        shaped = (tf.reshape(p, shape) for p, shape in zip(pieces, self.shapes, strict=True))
        return dict(zip(self.members, shaped, strict=True))

    def join(self, tensors: Mapping[int, tf.Tensor]) -> tf.Tensor:
        """The members' tensors as one flat tensor, with zeros for a member without one."""
        dtype = next(iter(tensors.values())).dtype
        pieces = [
            tf.reshape(tensors[i], [-1]) if i in tensors else tf.zeros([size], dtype)
            for i, size in zip(self.members, self.sizes, strict=True)
        ]
        return tf.concat(pieces, 0)

    def only(self, present: Collection[int], new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
        """`new` for the members in `present`, `old` for the others; all are flat."""
        if len(present) == len(self.members):
            return new
        mask = [np.full(s, i in present) for i, s in zip(self.members, self.sizes, strict=True)]
        return tf.where(tf.constant(np.concatenate(mask)), new, old)


def plan(variables: Sequence[tf.Variable], indices: Iterable[int]) -> list[list[int]]:
    """Which variables to pack together: two or more small ones of one dtype on one device.

    Args:
        variables: all variables of the optimizer.
        indices: indices of those that may be packed.

    Returns:
        For each pack, the indices of its members.
    """

    def kind(index):
        variable = variables[index]
        return variable.dtype.name, variable.device

    def small(index):
        variable = variables[index]
        return variable.shape.num_elements() <= LARGEST_MEMBER and variable.dtype.size >= 4

    candidates = sorted(filter(small, indices), key=lambda i: (kind(i), i))
    packs: list[list[int]] = []
    for _, same_kind in itertools.groupby(candidates, kind):
        pack: list[int] = []
        size = 0
        for index in same_kind:
            added = variables[index].shape.num_elements()
            if pack and size + added > LARGEST_PACK:
                packs.append(pack)
                pack, size = [], 0
            pack.append(index)
            size += added
        packs.append(pack)
    return [pack for pack in packs if len(pack) > 1]
