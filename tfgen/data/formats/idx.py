"""The IDX format of MNIST: a big-endian header, followed by the bytes of an array."""

import struct
from pathlib import Path

import numpy as np

from tfgen.data.local_files import damaged

_UINT8 = 0x08


def parse(content: bytes, path: Path, axes: int) -> np.ndarray:
    """Reads an array of bytes from the content of an IDX file.

    Args:
        content: unpacked content of the file.
        path: path of the file, for error messages.
        axes: number of axes: 3 for images [N, H, W], 1 for labels [N].

    Raises:
        InputError: the magic number is wrong, or the header does not match the number of bytes.
    """
    header = 4 + 4 * axes
    expected = _UINT8 << 8 | axes
    magic = int.from_bytes(content[:4], "big")
    if len(content) < 4 or magic != expected:
        raise damaged(
            path, f"it is not an IDX file of {axes} axes (magic number {magic}, not {expected})"
        )
    if len(content) < header:
        raise damaged(path, f"its header of {header} bytes ends after {len(content)}")
    shape = struct.unpack(f">{axes}I", content[4:header])
    needed, present = int(np.prod(shape, dtype=object)), len(content) - header
    if needed != present:
        kind = "truncated" if present < needed else "too long"
        raise damaged(
            path, f"it is {kind}: shape {shape} needs {needed} bytes, {present} are present"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
