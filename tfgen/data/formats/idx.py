"""The IDX format of MNIST: a big-endian header, then the bytes of an array."""

import struct
from pathlib import Path

import numpy as np

from tfgen.data.sources.local_files import damaged

_UINT8 = 0x08


def parse(content: bytes, path: Path, dimensions: int) -> np.ndarray:
    """Reads a uint8 array: the content of an IDX file -> uint8 array of `dimensions` axes.

    Args:
        content: unpacked content of the file.
        path: named in errors.
        dimensions: 3 for images [N, H, W], 1 for labels [N].

    Raises:
        InputError: another magic number, or more or fewer bytes than the header announces.
    """
    header = 4 + 4 * dimensions
    expected = _UINT8 << 8 | dimensions
    magic = int.from_bytes(content[:4], "big")
    if len(content) < 4 or magic != expected:
        raise damaged(path, f"it is no IDX file of this kind (magic {magic}, not {expected})")
    if len(content) < header:
        raise damaged(path, f"its header of {header} bytes ends after {len(content)}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    announced, present = int(np.prod(shape, dtype=object)), len(content) - header
    if announced != present:
        kind = "truncated" if present < announced else "too long"
        raise damaged(
            path, f"it is {kind}: {announced} bytes announced for shape {shape}, {present} present"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
