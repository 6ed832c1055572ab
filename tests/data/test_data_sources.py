"""Every source of data satisfies the same contract; a source that is not in `CASES` fails."""

import json
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tiny_data_files import write_cifar10, write_mnist

import tfgen
from tfgen.data import catalog, sources
from tfgen.errors import InputError

GUIDE = Path(__file__).parents[2] / "docs" / "data.md"


class TfgenTestColours(tfds.core.GeneratorBasedBuilder):
    """Ten images of one colour."""

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None

    def _info(self):
        image = tfds.features.Image(shape=(8, 8, 3))
        label = tfds.features.ClassLabel(names=["dark", "light"])
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for level in range(10):
            image = np.full((8, 8, 3), 25 * level, np.uint8)
            yield level, {"image": image, "label": level // 5}


def local_mnist(directory, name):
    write_mnist(directory / name)
    return {"source": name, "data_dir": directory}


def local_cifar10(directory):
    write_cifar10(directory)
    return {"source": "cifar10", "data_dir": directory}


def folder(directory):
    for split in ("train", "test"):
        for name in ("dark", "light"):
            (directory / split / name).mkdir(parents=True)
            image = np.full((8, 8, 3), 200 if name == "light" else 20, np.uint8)
            Image.fromarray(image).save(directory / split / name / "a.png")
    return {"source": directory}


# For each source: the module that opens it, its number of classes, and a function from a directory
# to the arguments of `load`.
CASES = {
    "digits": ("digits", 10, lambda directory: {"source": "digits"}),
    "shapes": (
        "shapes",
        None,
        lambda directory: {
            "source": "shapes",
            "options": {"num_images": 9, "num_test_images": 3, "size": 8},
        },
    ),
    "mnist": ("mnist", 10, lambda directory: local_mnist(directory, "mnist")),
    "fashion_mnist": ("mnist", 10, lambda directory: local_mnist(directory, "fashion_mnist")),
    "cifar10": ("cifar10", 10, local_cifar10),
    "a folder": ("image_folder", 2, folder),
    "a name of TFDS": (
        "tfds",
        2,
        lambda directory: {
            "source": "tfgen_test_colours",
            "options": {"data_dir": str(directory)},
        },
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """Name, number of classes, and arguments of `load`."""
    _, num_classes, arguments = CASES[request.param]
    return request.param, num_classes, arguments(tmp_path_factory.mktemp("source"))


def test_every_source_is_tested():
    assert set(tfgen.data.names()) <= set(CASES)
    assert {module for module, *_ in CASES.values()} == {
        module.name for module in pkgutil.iter_modules(sources.__path__)
    }
    for name, source in catalog.SOURCES.items():
        assert source.module == CASES[name][0]


def test_every_named_source_is_in_the_guide():
    for name in tfgen.data.names():
        assert f"\n| `{name}` |" in GUIDE.read_text("utf-8")
        assert "\n" not in tfgen.data.describe(name)


def test_splits_are_uint8_images_with_their_labels(case):
    _, num_classes, arguments = case
    dataset = tfgen.data.load(**arguments)
    assert dataset.num_classes == num_classes
    assert list(dataset.splits) == ["train", "test"]
    for split, count in dataset.splits.items():
        images, labels = dataset.images(split), dataset.labels(split)
        assert (images.dtype, images.shape) == (np.uint8, (count, *dataset.image_shape))
        if num_classes:
            assert len(dataset.label_names) == num_classes
            assert labels.shape == (count,)
            assert set(labels) <= set(range(num_classes))
        else:
            assert all(values.shape == (count,) for values in labels.values())
        again, again_labels = dataset.stream(
            split, batch_size=count, shuffle=False, labels=True
        ).global_batch(0)
        np.testing.assert_array_equal(again, images)
        for found, expected in zip(*map(leaves, (again_labels, labels)), strict=True):
            np.testing.assert_array_equal(found, expected)


def leaves(labels):
    return [labels[key] for key in sorted(labels)] if isinstance(labels, dict) else [labels]


def test_provenance_says_where_the_images_come_from(case):
    provenance = tfgen.data.load(**case[2]).provenance
    assert provenance.keys() >= {"name", "builder", "version", "options", "source", "split"}
    assert provenance["version"] == "1.0.0"
    assert json.loads(json.dumps(provenance)) == provenance


def test_the_order_is_always_the_same(case):
    first, second = tfgen.data.load(**case[2]), tfgen.data.load(**case[2])
    np.testing.assert_array_equal(first.images("train"), second.images("train"))
    assert first.label_names == second.label_names


@pytest.mark.parametrize("name", tfgen.data.names())
def test_options_that_a_source_does_not_have(name):
    with pytest.raises(InputError, match="unknown option 'colour'"):
        tfgen.data.load(name, options={"colour": 3})


def test_shapes_that_a_named_source_does_not_have(case):
    name, _, arguments = case
    if name not in tfgen.data.names():
        assert tfgen.data.load(**arguments, image_shape=(5, 4, 1)).image_shape == (5, 4, 1)
        return
    shape = tfgen.data.load(**arguments).image_shape
    assert tfgen.data.load(**arguments, image_shape=list(shape)).image_shape == shape
    with pytest.raises(InputError, match=r"not \(5, 4, 1\)"):
        tfgen.data.load(**arguments, image_shape=(5, 4, 1))
