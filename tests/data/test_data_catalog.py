"""Names, the time to list them, and errors for unknown sources and shapes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import tfgen
from tfgen.errors import InputError


def test_listing_imports_no_tensorflow_and_is_fast():
    code = (
        "import sys, tfgen.data as d\n"
        "print([d.describe(n) for n in d.names()])\n"
        "assert not {'tensorflow', 'tensorflow_datasets', 'numpy'} & sys.modules.keys()"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.perf_counter() - start < 1


def test_describe_suggests_near_names():
    with pytest.raises(InputError, match="fashion_mnist"):
        tfgen.data.describe("fashion-mnist")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mnistt", "did you mean mnist"),
        ("tf_flower", "tf_flowers"),
        ("./no/such/folder", "does not exist"),
        ("~nobody-here/x", "~nobody-here/x: there is no home directory of that name"),
        (Path("~nobody-here"), "~nobody-here: there is no home directory of that name"),
        ("what is this", "not a name of a data set"),
        ("", "the data source is ''"),
        (None, "the data source is None"),
        ("cifar100:99.0.0", "99.0.0"),
        ("imdb_reviews", "has no images"),
    ],
)
def test_unknown_sources_get_one_line(source, expected):
    with pytest.raises(InputError, match=expected) as caught:
        tfgen.data.load(source)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "image_shape", [(8, 8), (8, 8, 2), (0, 8, 1), (8.5, 8, 1), 8, "8x8x1", (8, 8, 4)]
)
def test_impossible_image_shapes(image_shape):
    with pytest.raises(InputError, match=r"image_shape must be \(H, W, C\), .* C one of 1, 3"):
        tfgen.data.load("digits", image_shape=image_shape)


def test_another_shape_is_not_resized_silently():
    with pytest.raises(InputError, match=r"\(8, 8, 1\), not \(32, 32, 3\)"):
        tfgen.data.load("digits", image_shape=(32, 32, 3))
    assert tfgen.data.load("digits", image_shape=[8, 8, 1]).image_shape == (8, 8, 1)
