"""`mnist` and `fashion_mnist` from local files: layouts, damaged files, missing files."""

import gzip
import logging
import os

import numpy as np
import pytest
from tiny_data_files import idx_bytes, write_mnist

import tfgen
from tfgen.errors import InputError

TRAIN_IMAGES = "train-images-idx3-ubyte"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
@pytest.mark.parametrize("folder", ["mnist", "", "MNIST/raw"])
def test_layouts(tmp_path, packed, dotted, folder):
    arrays = write_mnist(tmp_path / folder, packed, dotted)
    mnist = tfgen.data.load("mnist", data_dir=tmp_path)
    assert mnist.splits == {"train": 20, "test": 10}
    np.testing.assert_array_equal(mnist.images("train")[..., 0], arrays[TRAIN_IMAGES])
    np.testing.assert_array_equal(mnist.labels("test"), arrays["t10k-labels-idx1-ubyte"])


def test_the_environment_variable_then_the_home(tmp_path, monkeypatch, fresh_home):
    write_mnist(fresh_home / "data" / "mnist", seed=1)
    here = tfgen.data.load("mnist").images("train")
    write_mnist(tmp_path / "named" / "mnist", seed=2)
    monkeypatch.setenv("TFGEN_DATA", str(tmp_path / "named"))
    assert (tfgen.data.load("mnist").images("train") != here).any()


def test_unpublished_contents_are_used_with_a_warning(tmp_path, caplog):
    write_mnist(tmp_path / "mnist", seed=3)
    with caplog.at_level(logging.WARNING):
        mnist = tfgen.data.load("mnist", data_dir=tmp_path)
    assert "not the published file" in caplog.text
    entries = mnist.provenance["files"]
    assert [entry["published"] for entry in entries] == [False] * 4
    assert str(tmp_path) not in str(mnist.provenance)


def test_replaced_files_are_read_again(tmp_path):
    write_mnist(tmp_path / "mnist", seed=4)
    before = tfgen.data.load("mnist", data_dir=tmp_path).images("train")
    write_mnist(tmp_path / "mnist", seed=5)
    os.utime(tmp_path / "mnist" / f"{TRAIN_IMAGES}.gz", (1, 1))
    assert (tfgen.data.load("mnist", data_dir=tmp_path).images("train") != before).any()


def test_missing_files_say_where_and_how(tmp_path, fresh_home):
    with pytest.raises(InputError) as caught:
        tfgen.data.load("fashion_mnist")
    for part in (str(fresh_home / "data"), "github.com", "TFGEN_DATA", "--data-dir"):
        assert part in str(caught.value)
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"holds only train-images-idx3-ubyte\.gz"):
        tfgen.data.load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: gzip.compress(content)[:-300], "compression is broken"),
        (lambda content: b"not gzip", "compression is broken"),
        (lambda content: gzip.compress(content[:-5]), "truncated"),
        (lambda content: gzip.compress(content + b"x"), "too long"),
        (lambda content: gzip.compress(content[:9]), "header of 16 bytes ends after 9"),
        (lambda content: gzip.compress(b""), "magic"),
        (lambda content: gzip.compress(b"\x00\x00\x08\x01" + content[4:]), "2049, not 2051"),
        (
            lambda content: gzip.compress(idx_bytes(np.zeros((20, 9, 9), np.uint8))),
            r"\(20, 9, 9\), not \(N, 28, 28\)",
        ),
        (
            lambda content: gzip.compress(idx_bytes(np.zeros((21, 28, 28), np.uint8))),
            "20 labels for the 21 images",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, fresh_home, change, expected):
    write_mnist(tmp_path / "mnist")
    path = tmp_path / "mnist" / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(change(gzip.decompress(path.read_bytes())))
    with pytest.raises(InputError, match=expected) as caught:
        tfgen.data.load("mnist", data_dir=tmp_path)
    assert "fresh download" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(fresh_home.glob("datasets/*/**/dataset_info.json"))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_published_files(real_data, name):
    mean, deviation = {"mnist": (0.13066, 0.30811), "fashion_mnist": (0.28604, 0.35302)}[name]
    dataset = tfgen.data.load(name, data_dir=real_data)
    assert dataset.splits == {"train": 60_000, "test": 10_000}
    images = dataset.images("train") / np.float32(255)
    assert images.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-5)
    assert images.std(dtype=np.float64) == pytest.approx(deviation, abs=1e-5)
    assert all(entry["published"] for entry in dataset.provenance["files"])
    histogram = np.bincount(dataset.labels("train")).tolist()
    if name == "mnist":
        assert histogram == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    else:
        assert histogram == [6000] * 10


def test_one_data_set_is_not_taken_for_the_other(real_data):
    with pytest.raises(InputError, match="belongs to mnist"):
        tfgen.data.load("fashion_mnist", data_dir=real_data / "mnist")
