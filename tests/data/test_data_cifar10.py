"""`cifar10` in each of its published forms."""

import gzip
import io
import lzma
import os
import pickle
import tarfile

import numpy as np
import pytest
from tiny_data_files import binary_batch, python_batch, tiny_cifar10

import tfgen
from tfgen.errors import InputError

BATCHES = tiny_cifar10()
BINARY = {f"{name}.bin": binary_batch(*batch) for name, batch in BATCHES.items()}
PYTHON = {name: python_batch(*batch) for name, batch in BATCHES.items()}


def write(folder, files, pack=bytes, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}{suffix}").write_bytes(pack(content))


def write_archive(path, folder, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


LAYOUTS = {
    "bin": lambda root: write(root / "cifar10", BINARY),
    "bin.xz": lambda root: write(root / "cifar10", BINARY, lzma.compress, ".xz"),
    "bin.gz here": lambda root: write(root, BINARY, gzip.compress, ".gz"),
    "unpacked binary": lambda root: write(root / "cifar-10-batches-bin", BINARY),
    "unpacked python": lambda root: write(root / "cifar10" / "cifar-10-batches-py", PYTHON),
    "binary archive": lambda root: write_archive(
        root / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", BINARY
    ),
    "python archive": lambda root: write_archive(
        root / "cifar10" / "cifar-10-python.tar.gz", "cifar-10-batches-py", PYTHON
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    cifar10 = tfgen.data.load("cifar10", data_dir=tmp_path)
    assert cifar10.splits == {"train": 20, "test": 4}
    planes, labels = BATCHES["data_batch_2"]
    images = cifar10.images("train")[4:8]
    np.testing.assert_array_equal(images[:, 5, 7, 2], planes[:, 2 * 1024 + 5 * 32 + 7])
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(4, -1), planes)
    np.testing.assert_array_equal(cifar10.labels("train")[4:8], labels)
    np.testing.assert_array_equal(cifar10.labels("test"), BATCHES["test_batch"][1])
    assert cifar10.label_names[6] == "frog"


class _Malice:
    def __reduce__(self):
        return os.system, ("echo harm",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pickle.dumps({b"data": _Malice()}, protocol=2), "system is not allowed in it"),
        (b"not a pickle", "not a batch of the Python version"),
        (PYTHON["data_batch_1"][:-100], "not a batch of the Python version"),
        (python_batch(np.zeros((4, 30), np.uint8), np.zeros(4, np.uint8)), "not uint8"),
        (python_batch(np.zeros((4, 3072), np.uint8), np.full(4, 11)), "a label is 11"),
    ],
)
def test_pickles_run_no_code(tmp_path, content, expected):
    write(tmp_path / "cifar-10-batches-py", PYTHON | {"data_batch_1": content})
    with pytest.raises(InputError, match=expected) as caught:
        tfgen.data.load("cifar10", data_dir=tmp_path)
    assert "data_batch_1" in str(caught.value)


def test_damaged_batches_and_archives(tmp_path):
    write(tmp_path, BINARY | {"data_batch_3.bin": BINARY["data_batch_3.bin"][:-1]})
    with pytest.raises(InputError, match=r"data_batch_3\.bin: its 12291 bytes"):
        tfgen.data.load("cifar10", data_dir=tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(InputError, match=r"holds only data_batch_1\.bin, data_batch_2\.bin"):
        tfgen.data.load("cifar10", data_dir=tmp_path)
    packed = tmp_path / "archives" / "cifar-10-binary.tar.gz"
    write_archive(packed, "cifar-10-batches-bin", BINARY)
    packed.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(InputError, match="the archive is broken"):
        tfgen.data.load("cifar10", data_dir=packed.parent)
    write_archive(packed, "cifar-10-batches-bin", {"data_batch_1.bin": b""})
    with pytest.raises(InputError, match="the archive lacks data_batch_2"):
        tfgen.data.load("cifar10", data_dir=packed.parent)


def test_missing(tmp_path):
    with pytest.raises(InputError, match=r"no such directory.*cs\.toronto\.edu"):
        tfgen.data.load("cifar10", data_dir=tmp_path / "nothing")


def test_the_published_files(real_data):
    cifar10 = tfgen.data.load("cifar10", data_dir=real_data)
    assert cifar10.splits == {"train": 50_000, "test": 10_000}
    assert np.bincount(cifar10.labels("train")).tolist() == [5000] * 10
    assert np.bincount(cifar10.labels("test")).tolist() == [1000] * 10
    assert all(entry["published"] for entry in cifar10.provenance["files"])
    pixels = cifar10.images("train").reshape(-1, 3)
    counts = [np.bincount(channel, minlength=256) for channel in pixels.T]
    levels = np.arange(256) / 255
    means = [np.average(levels, weights=count) for count in counts]
    spreads = [
        np.sqrt(np.average((levels - mean) ** 2, weights=count))
        for mean, count in zip(means, counts, strict=True)
    ]
    np.testing.assert_allclose(means, [0.49140, 0.48216, 0.44653], atol=1e-5)
    np.testing.assert_allclose(spreads, [0.24703, 0.24349, 0.26159], atol=1e-5)
