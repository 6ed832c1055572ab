"""Files among images that are no images, claim to be huge, or are malformed."""

import gzip
import io
import os
import socket
import struct
import subprocess
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tfgen
from tfgen.data import image_files, local_files
from tfgen.data.formats import cifar10_batches, folder_files, idx, pillow_images
from tfgen.data.formats.pillow_images import UnreadableImageError
from tfgen.errors import InputError

EXAMPLES = settings(deadline=None, derandomize=True, max_examples=60, database=None)


def png(image=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)) if image is None else image
    image.save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def claimed(width, height, depth=8, colour=0, data=b""):
    """A PNG whose header claims a size; its pixels are `data`."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path):
    for name in "abcdefghijkl":
        (tmp_path / f"{name}.png").write_bytes(png())
    return tmp_path


@pytest.fixture
def strange(folder):
    """A folder with a pipe, a socket and a device among its images."""
    os.mkfifo(folder / "pipe.png")
    address = str(folder / "socket.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address[-100:] if len(address) < 100 else os.path.relpath(address))
        (folder / "device.png").symlink_to("/dev/zero")
        yield folder


STRANGE = ["device.png", "pipe.png", "socket.png"]


def test_only_regular_files_are_opened(strange):
    (batch, *rest) = image_files.read_folder(strange, (8, 8, 1), 100)
    assert sorted(batch.unreadable) == [(name, "not a regular file") for name in STRANGE]
    assert [len(other.paths) for other in rest] == [12]
    data = tfgen.data.load(strange)
    assert sorted(data.unreadable) == [(name, "not a regular file") for name in STRANGE]
    assert sum(data.splits.values()) == 12


def test_a_file_that_becomes_a_pipe_after_the_scan_is_not_waited_for(folder, monkeypatch):
    scan = folder_files.scan

    def replaced(root):
        found = scan(root)
        (root / "a.png").unlink()
        os.mkfifo(root / "a.png")
        return found

    monkeypatch.setattr(folder_files, "scan", replaced)
    (batch,) = image_files.read_folder(folder, (8, 8, 1), 100)
    assert batch.unreadable == [("a.png", "not a regular file")]


def test_a_pipe_given_by_name_is_refused(strange):
    with pytest.raises(InputError, match=r"pipe\.png: not a regular file"):
        image_files.read_files([strange / "pipe.png"], (8, 8, 1))


def test_folders_may_be_nested_more_deeply_than_python_recurses(tmp_path):
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        with open("a.png", "wb") as file:
            file.write(png())
    finally:
        os.chdir(before)
    files, unreadable = folder_files.scan(tmp_path)
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest would do it by recursion
    assert list(files) == ["d/" * 1500 + "a.png"]
    assert unreadable == []


SPLITS = {
    "an unreadable image": lambda folder: (folder / "test" / "a.png").write_bytes(b"no image"),
    "no file": lambda folder: None,
    "a pipe": lambda folder: os.mkfifo(folder / "test" / "a.png"),
    "an image without pixels": lambda folder: (folder / "test" / "a.png").write_bytes(
        claimed(8, 8)
    ),
}


@pytest.mark.parametrize("case", SPLITS)
def test_training_images_never_become_the_test_set_of_a_folder_that_has_one(case, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for name in "abcdef":
        (tmp_path / "train" / f"{name}.png").write_bytes(png())
    SPLITS[case](tmp_path)
    with pytest.raises(InputError, match=r"no readable image( for test)?.*; give a folder"):
        tfgen.data.load(tmp_path)


@pytest.mark.parametrize("size", [(9460, 9460), (100_000, 1000), (2**31 - 1, 2**31 - 1)])
def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(size, tmp_path):
    (tmp_path / "a.png").write_bytes(claimed(*size))
    with pytest.raises(UnreadableImageError, match=r"pixels are more than|bomb"):
        pillow_images.header(tmp_path / "a.png")
    with pytest.raises(UnreadableImageError):
        pillow_images.decoded(tmp_path / "a.png", (8, 8, 1))


def test_the_pixels_that_are_decoded_at_a_time_are_bounded(folder, monkeypatch):
    """Of 12 images with 64 pixels each, at most three are decoded at a time."""
    monkeypatch.setattr(pillow_images, "_MAX_PIXELS", 200)
    decode, lock, current, most = pillow_images.pixels, threading.Lock(), [0], [0]

    def counted(content, shape):
        with lock:
            current[0] += 1
            most[0] = max(most[0], current[0])
        threading.Event().wait(0.02)
        try:
            return decode(content, shape)
        finally:
            with lock:
                current[0] -= 1

    monkeypatch.setattr(pillow_images, "pixels", counted)
    paths = [folder / f"{name}.png" for name in "abcdefghijkl"]
    found = []
    threads = [
        threading.Thread(target=lambda p=p: found.append(pillow_images.decoded(p, (8, 8, 1))))
        for p in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 12
    assert 1 < most[0] <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_conversion_in_bands_changes_no_pixel(mode, channels, monkeypatch):
    random = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 2**16, [33, 20], dtype=np.uint16))
    else:
        image = Image.fromarray(random.integers(0, 256, [33, 20, 4], dtype=np.uint8)).convert(mode)
    content = png(image)
    whole = pillow_images.pixels(content, (33, 20, channels))
    monkeypatch.setattr(pillow_images, "_BAND", 100)
    np.testing.assert_array_equal(pillow_images.pixels(content, (33, 20, channels)), whole)


def test_a_file_of_too_many_bytes_is_refused(folder, monkeypatch):
    monkeypatch.setattr(pillow_images, "_MAX_BYTES", 50)
    with pytest.raises(UnreadableImageError, match="more than 50 bytes"):
        pillow_images.read(folder / "a.png")


def test_a_compressed_file_is_not_unpacked_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(local_files, "MAX_BYTES", 1000)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        local_files.read(path)


def refused_or_decoded(content):
    image, refused = None, ""
    try:
        pillow_images.header(io.BytesIO(content))
        image = pillow_images.pixels(content, (8, 8, 3))
    except UnreadableImageError as error:
        refused = str(error)
    assert bool(refused) == (image is None)
    assert "\n" not in refused
    assert image is None or image.shape == (8, 8, 3)


@EXAMPLES
@given(
    width=st.integers(0, 2**32 - 1) | st.integers(0, 20),
    height=st.integers(0, 2**32 - 1) | st.integers(0, 20),
    depth=st.integers(0, 17),
    colour=st.integers(0, 7),
    data=st.binary(max_size=100),
)
def test_any_header_of_a_png_is_decoded_or_refused(width, height, depth, colour, data):
    refused_or_decoded(claimed(width, height, depth, colour, data))


@EXAMPLES
@given(st.data(), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
def test_any_changed_byte_of_an_image_is_decoded_or_refused(data, kind):
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, kind)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    refused_or_decoded(bytes(content[: data.draw(st.integers(0, len(content)))] or content))


@EXAMPLES
@given(content=st.binary(max_size=40), axes=st.sampled_from([1, 3]), shape=st.binary(max_size=16))
def test_any_idx_file_is_an_array_or_refused(content, axes, shape):
    for file in (content, bytes([0, 0, 8, axes]) + shape + content):
        array, refused = None, ""
        try:
            array = idx.parse(file, "a", axes)
        except InputError as error:
            refused = str(error)
        assert refused.startswith("a: ") == (array is None)
        assert array is None or array.nbytes == len(file) - 4 - 4 * axes


@EXAMPLES
@given(content=st.binary(max_size=60), parse=st.sampled_from(["_binary", "_python"]))
def test_any_batch_of_cifar10_is_an_array_or_refused(content, parse):
    with pytest.raises(InputError, match="a: "):
        getattr(cifar10_batches, parse)(content, "a")
