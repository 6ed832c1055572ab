"""Folders of images: formats, fitting, splits, classes, and what cannot be read."""

import logging
import os

import numpy as np
import pytest
from PIL import Image

import tfgen
from tfgen.data.formats import pillow_images
from tfgen.errors import InputError


def picture(seed=0, size=(16, 16), mode="RGB"):
    """Random pixels; size is (width, height)."""
    channels = () if mode == "L" else (len(mode),)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], *channels), np.uint8)
    return Image.fromarray(pixels, mode if mode == "LA" else None)


def fill(folder, count, first=0, **how):
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        picture(seed, **how).save(folder / f"{seed}.png")


def loaded_pixels(path, shape):
    return pillow_images.pixels(path.read_bytes(), shape)


def test_flat_folder_keeps_every_image_once(tmp_path):
    fill(tmp_path / "pictures", 60)
    dataset = tfgen.data.load(tmp_path / "pictures")
    assert dataset.name == "pictures"
    assert dataset.image_shape == (16, 16, 3)
    assert dataset.labels("train") is None
    assert sum(dataset.splits.values()) == 60
    assert 1 <= dataset.splits["test"] <= 15
    images = np.concatenate([dataset.images("train"), dataset.images("test")])
    expected = sorted(np.asarray(picture(seed)).tobytes() for seed in range(60))
    assert sorted(map(bytes, images)) == expected
    with pytest.raises(InputError, match="has no labels"):
        dataset.tf_data("train", batch_size=2, labels=True)


def test_growing_moves_no_image_between_the_splits(tmp_path):
    fill(tmp_path, 40)
    before = set(map(bytes, tfgen.data.load(tmp_path).images("test")))
    fill(tmp_path, 40, first=40)
    after = set(map(bytes, tfgen.data.load(tmp_path).images("test")))
    assert before < after


def test_classes_are_the_folders(tmp_path):
    for index, name in enumerate(["rose", "aster", "lily"]):
        fill(tmp_path / name / "2024", 10, first=10 * index, mode="L")
    dataset = tfgen.data.load(tmp_path)
    assert dataset.label_names == ("aster", "lily", "rose")
    assert dataset.num_classes == 3
    assert dataset.image_shape == (16, 16, 1)
    asters = {np.asarray(picture(seed, mode="L")).tobytes() for seed in range(10, 20)}
    for image, label in zip(dataset.images("train"), dataset.labels("train"), strict=True):
        assert (bytes(image) in asters) == (label == 0)
    fill(tmp_path, 1, first=100, mode="L")
    assert tfgen.data.load(tmp_path).num_classes is None


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ({"train": 8, "test": 3}, {"train": 8, "test": 3}),
        ({"train": 8, "validation": 2, "test": 3}, {"train": 8, "validation": 2, "test": 3}),
        ({"train": 8, "val": 2}, {"train": 8, "test": 2}),
    ],
)
def test_split_folders(tmp_path, folders, expected):
    for index, (folder, count) in enumerate(folders.items()):
        fill(tmp_path / folder / "a", count, first=100 * index)
    dataset = tfgen.data.load(tmp_path)
    assert dataset.splits == expected
    assert dataset.label_names == ("a",)
    assert set(map(bytes, dataset.images("train"))) == {
        np.asarray(picture(seed)).tobytes() for seed in range(8)
    }


def test_unreadable_files_are_named_and_counted(tmp_path, caplog):
    fill(tmp_path, 12)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:-200])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / ".hidden").write_text("ignored")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            dataset = tfgen.data.load(tmp_path)
        unreadable = dict(dataset.unreadable)
        assert set(unreadable) == {"notes.txt", "cut.png", "empty.jpg", "gone.png"}
        assert "not an image" in unreadable["notes.txt"]
        assert dataset.provenance["unreadable_files"] == 4
        assert sum(dataset.splits.values()) == dataset.provenance["files"]["count"] == 12
        assert "4 files cannot be used" in caplog.text
        assert "cut.png" in caplog.text


def test_changes_are_noticed(tmp_path):
    fill(tmp_path, 6)
    digest = tfgen.data.load(tmp_path).provenance["files"]["sha256"]
    assert tfgen.data.load(tmp_path).provenance["files"]["sha256"] == digest
    picture(99).save(tmp_path / "3.png")
    os.utime(tmp_path / "3.png", (5, 5))
    assert tfgen.data.load(tmp_path).provenance["files"]["sha256"] != digest


def test_other_sizes_need_a_shape(tmp_path):
    fill(tmp_path, 4)
    fill(tmp_path, 4, first=4, size=(20, 30))
    with pytest.raises(InputError, match=r"2 sizes, such as .*image_shape"):
        tfgen.data.load(tmp_path)
    dataset = tfgen.data.load(tmp_path, image_shape=(10, 12, 1))
    assert dataset.images("train").shape[1:] == (10, 12, 1)


@pytest.mark.parametrize("content", [None, "text"])
def test_a_folder_without_readable_images(tmp_path, content):
    if content:
        (tmp_path / "a.png").write_text(content)
    with pytest.raises(InputError, match="holds no readable image"):
        tfgen.data.load(tmp_path)


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "images.zip").write_text("")
    with pytest.raises(InputError, match="is a file"):
        tfgen.data.load(str(tmp_path / "images.zip"))


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "webp", "tiff", "jpg"])
def test_formats(tmp_path, suffix):
    flat = Image.new("RGB", (9, 7), (200, 30, 90))
    flat.save(tmp_path / f"a.{suffix}")
    difference = loaded_pixels(tmp_path / f"a.{suffix}", (7, 9, 3)).astype(int) - (200, 30, 90)
    assert np.abs(difference).max() <= (3 if suffix in ("jpg", "webp") else 0)


def test_orientation_of_the_camera(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(size=(6, 4))
    image.save(tmp_path / "a.png", exif=exif)
    assert pillow_images.header(tmp_path / "a.png") == (6, 4, 3)
    upright = np.rot90(np.asarray(image), -1)
    np.testing.assert_array_equal(loaded_pixels(tmp_path / "a.png", (6, 4, 3)), upright)


def test_transparency_shows_white(tmp_path):
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    image.putpixel((0, 0), (10, 20, 30, 255))
    image.save(tmp_path / "a.png")
    result = loaded_pixels(tmp_path / "a.png", (4, 4, 3))
    assert result[0, 0].tolist() == [10, 20, 30]
    assert result[1, 1].tolist() == [255] * 3


def test_palette_and_sixteen_bits(tmp_path):
    colours = Image.new("RGB", (4, 4), (0, 255, 0)).convert("P", palette=Image.Palette.ADAPTIVE)
    colours.save(tmp_path / "p.png")
    assert loaded_pixels(tmp_path / "p.png", (4, 4, 3))[0, 0].tolist() == [0, 255, 0]
    deep = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "i.png")
    assert pillow_images.header(tmp_path / "i.png") == (1, 4, 1)
    assert loaded_pixels(tmp_path / "i.png", (1, 4, 1)).ravel().tolist() == [0, 1, 128, 255]


def test_fitting_keeps_the_centre_and_flat_areas_stay_flat(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert (loaded_pixels(tmp_path / "a.png", (10, 10, 3))[:, 1:-1] == 255).all()


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pillow_images, "_MAX_PIXELS", 200)
    fill(tmp_path, 1)
    with pytest.raises(pillow_images.UnreadableImageError, match="16x16 pixels"):
        pillow_images.header(tmp_path / "0.png")


def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(
        pillow_images.UnreadableImageError, match="floating-point pixels is unknown"
    ):
        loaded_pixels(tmp_path / "a.tiff", (4, 4, 1))
