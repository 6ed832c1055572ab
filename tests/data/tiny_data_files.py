"""Tiny files in the layouts of the published data sets."""

import gzip
import pickle
import struct

import numpy as np


def idx_bytes(array):
    header = struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape)
    return header + array.tobytes()


def tiny_mnist(seed=0, train=20, test=10):
    """The contents of the four IDX files by file name, and the arrays in them."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for prefix, count in (("train", train), ("t10k", test)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, 10, count, np.uint8)
    return {name: idx_bytes(array) for name, array in arrays.items()}, arrays


def write_mnist(folder, packed=True, dotted=False, seed=0):
    """Writes the four files into a folder; returns the arrays."""
    files, arrays = tiny_mnist(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if dotted:
            name = name.replace("-idx", ".idx")
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


CIFAR_BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def tiny_cifar10(images=4):
    """The planes [N, 3072] and labels [N] of each batch, by its name."""
    rng = np.random.default_rng(1)
    return {
        batch: (
            rng.integers(0, 256, (images, 3072), np.uint8),
            rng.integers(0, 10, images, np.uint8),
        )
        for batch in CIFAR_BATCHES
    }


def binary_batch(planes, labels):
    return np.concatenate([labels[:, None], planes], axis=1).tobytes()


def python_batch(planes, labels):
    content = {b"data": planes, b"labels": labels.tolist(), b"batch_label": b"a batch"}
    return pickle.dumps(content, protocol=2)


def write_cifar10(directory):
    """Writes the six batches of the binary version into a directory; returns the batches."""
    batches = tiny_cifar10()
    for name, batch in batches.items():
        (directory / f"{name}.bin").write_bytes(binary_batch(*batch))
    return batches
