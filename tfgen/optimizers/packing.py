"""Small variables share their slots, so that a step has few variables to handle.

For a variable of a thousand weights the arithmetic takes microseconds; most of a step's time goes
into naming hundreds of slot variables to the graph. A `Pack` lays the slots of many small
variables end to end in one flat variable for each slot.
"""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

LARGEST_MEMBER = 2**14  # weights; above, the arithmetic outweighs the handling
LARGEST_PACK = 2**20  # weights; bounds the temporaries of a step at some MiB


@dataclasses.dataclass
class Pack:
    """Variables, by their index in the optimizer, whose slots lie in the same flat variables."""

    members: list
    shapes: list
    slots: dict

    @property
    def sizes(self):
        return [int(np.prod(shape)) for shape in self.shapes]

    @property
    def size(self):
        return sum(self.sizes)

    def split(self, flat):
        """A flat tensor as one tensor for each member, by index."""
        pieces = tf.split(flat, self.sizes)
        shaped = (tf.reshape(p, shape) for p, shape in zip(pieces, self.shapes, strict=True))
        return dict(zip(self.members, shaped, strict=True))

    def join(self, tensors):
        """One flat tensor of the members' tensors; a member without one counts as zero."""
        dtype = next(iter(tensors.values())).dtype
        pieces = [
            tf.reshape(tensors[i], [-1]) if i in tensors else tf.zeros([size], dtype)
            for i, size in zip(self.members, self.sizes, strict=True)
        ]
        return tf.concat(pieces, 0)

    def only(self, present, new, old):
        """`new` for the members in `present`, `old` for the others."""
        if len(present) == len(self.members):
            return new
        mask = [np.full(s, i in present) for i, s in zip(self.members, self.sizes, strict=True)]
        return tf.where(tf.constant(np.concatenate(mask)), new, old)


def plan(variables, indices):
    """Lists of indices to pack together: small, of one dtype, on one device, two or more.

    Args:
        variables: all variables of the optimizer.
        indices: those that may be packed.
    """

    def kind(index):
        variable = variables[index]
        return variable.dtype.name, variable.device

    def small(index):
        variable = variables[index]
        return variable.shape.num_elements() <= LARGEST_MEMBER and variable.dtype.size >= 4

    candidates = sorted(filter(small, indices), key=lambda i: (kind(i), i))
    packs = []
    for _, same_kind in itertools.groupby(candidates, kind):
        pack, size = [], 0
        for index in same_kind:
            added = variables[index].shape.num_elements()
            if pack and size + added > LARGEST_PACK:
                packs.append(pack)
                pack, size = [], 0
            pack.append(index)
            size += added
        packs.append(pack)
    return [pack for pack in packs if len(pack) > 1]
