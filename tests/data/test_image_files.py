"""Image files outside of a data set, fitted to a model's image shape."""

import numpy as np
import pytest
from PIL import Image

from tfgen.data import image_files
from tfgen.errors import InputError

GREYS = {"b.png": 10, "a.png": 20, "sub/c.png": 30}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three images of 4x4 pixels, one of 8x8, a text file and a hidden image."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "sub").mkdir()
    for name, grey in {**GREYS, ".hidden.png": 40}.items():
        Image.fromarray(np.full((4, 4), grey, "uint8")).save(folder / name)
    Image.fromarray(np.full((8, 8), 50, "uint8")).save(folder / "large.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_batches_of_a_folder_hold_each_image_once_in_the_order_of_the_paths(folder, batch_size):
    batches = list(image_files.read_folder(folder, (4, 4, 1), batch_size))
    paths = [path for batch in batches for path in batch.paths]
    assert paths == ["a.png", "b.png", "large.png", "sub/c.png"]
    images = np.concatenate([b.images for b in batches if b.images is not None])
    assert images.shape == (4, 4, 4, 1)
    assert images[:, 0, 0, 0].tolist() == [20, 10, 50, 30]
    assert [path for batch in batches for path in batch.resized] == ["large.png"]
    (unreadable,) = [file for batch in batches for file in batch.unreadable]
    assert unreadable == ("notes.txt", "not an image of a known format")


def test_files_are_read_in_the_given_order(folder):
    images = image_files.read_files([folder / "large.png", folder / "a.png"], (4, 4, 3))
    assert images[:, 0, 0].tolist() == [[50, 50, 50], [20, 20, 20]]


def test_what_cannot_be_read_is_named(folder):
    with pytest.raises(InputError, match=r"notes.txt: not an image of a known format"):
        image_files.read_files([folder / "a.png", folder / "notes.txt"], (4, 4, 1))
    with pytest.raises(InputError, match=r"missing.png: No such file"):
        image_files.read_files([folder / "missing.png"], (4, 4, 1))
    with pytest.raises(InputError, match=r"a.png is not a directory"):
        list(image_files.read_folder(folder / "a.png", (4, 4, 1), 8))
