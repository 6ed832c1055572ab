"""The arrays of a weights file, read without allocating them."""

from __future__ import annotations

import math
import os

import h5py

from tfgen.errors import InputError
from tfgen.files import PathLike, open_regular

MAX_OBJECTS = 100_000
MAX_DEPTH = 64


def shapes(path: PathLike) -> list[tuple[int, ...]]:
    """The shape of each array in a weights file, as Keras writes it.

    Keras writes arrays of numbers as they are. What HDF5 can do beyond that is refused: links and
    arrays in other files, and arrays that are larger than the part of the file that holds them.

    Args:
        path: path of a `.weights.h5` file.

    Raises:
        InputError: the file is not HDF5, is truncated, or has content that Keras does not write.

    Example:

    >>> import tfgen
    >>> from tfgen.models import weights_files
    >>> len(weights_files.shapes(tfgen.zoo.directory("vae-digits") / "model.weights.h5"))
    12
    """
    try:
        with open_regular(path) as stream, h5py.File(stream, "r") as file:
            size = os.fstat(stream.fileno()).st_size
            return _shapes(file, size)
    except InputError:
        raise
    except Exception as error:  # The errors of h5py have no common class.
        raise InputError(
            f"{path} is damaged: {' '.join(str(error).split())}; fetch or train the model again"
        ) from None


def _shapes(file, size):
    found: list[tuple[int, ...]] = []
    num_objects = num_bytes = 0
    waiting = [(file, 0)]
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            num_objects += 1
            if depth == MAX_DEPTH or num_objects > MAX_OBJECTS:
                raise ValueError(f"more than {MAX_OBJECTS:,} objects, or {MAX_DEPTH} groups deep")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{_place(group, name)} is a link to somewhere else")
            member = group[name]
            if isinstance(member, h5py.Group):
                waiting.append((member, depth + 1))
                continue
            num_bytes += _checked_bytes(member, _place(group, name))
            if num_bytes > size:
                raise ValueError(f"its arrays have more bytes than the file, {size:,}")
            found.append(member.shape)
    return found


def _checked_bytes(dataset, place):
    """The number of bytes of an array, which the file must hold."""
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise ValueError(f"{place} is not an array")
    if dataset.dtype.kind not in "biuf":
        raise ValueError(f"{place} has the dtype {dataset.dtype}, not one of numbers")
    num_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.is_virtual or dataset.external or dataset.id.get_storage_size() < num_bytes:
        raise ValueError(f"{place} is not stored in the file as it is")
    return num_bytes


def _place(group, name):
    return f"{group.name.rstrip('/')}/{name}"
