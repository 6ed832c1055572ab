"""Names of TensorFlow Datasets: splits, fitting, labels, and the error without a network."""

import socket

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import tfgen
from tfgen.data import dataset as dataset_module
from tfgen.data.formats.tfds_records import fit
from tfgen.data.sources import tfds as tfds_names
from tfgen.errors import InputError


class TfgenTestPhotos(tfds.core.GeneratorBasedBuilder):
    """Photos of several sizes with attributes; a training split only."""

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None

    def _info(self):
        attributes = tfds.features.FeaturesDict({"smiling": np.bool_, "age": np.int64})
        features = {"image": tfds.features.Image(), "attributes": attributes}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for age in range(40):
            image = np.full((20 + age, 30, 3), age, np.uint8)
            attributes = {"smiling": age % 2 == 0, "age": age}
            yield age, {"image": image, "attributes": attributes}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.mark.parametrize("limit", [2**29, 100])
def test_any_image_set_is_fitted(data_dir, monkeypatch, limit):
    monkeypatch.setattr(dataset_module, "_IN_MEMORY_BYTES", limit)
    options = {"data_dir": data_dir}
    photos = tfgen.data.load("tfgen_test_photos", image_shape=(16, 16, 1), options=options)
    assert photos.splits == {"train": 36, "test": 4}
    ages = np.concatenate([photos.labels("train")["age"], photos.labels("test")["age"]])
    assert sorted(ages) == list(range(40))
    batches = photos.tf_data("train", batch_size=7, shuffle=True, labels=True)
    for images, labels in batches:
        assert images.shape[1:] == (16, 16, 1)
        np.testing.assert_array_equal(images[:, 3, 3, 0], labels["age"])
        np.testing.assert_array_equal(labels["smiling"], labels["age"].numpy() % 2 == 0)


def test_several_sizes_need_a_shape(data_dir):
    with pytest.raises(InputError, match="several sizes"):
        tfgen.data.load("tfgen_test_photos", options={"data_dir": data_dir})


class _Split:
    def __init__(self, num_examples):
        self.num_examples = num_examples


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ({"train": 9, "test": 3, "extra": 5}, {"train": 9, "test": 3}),
        ({"train": 9, "validation": 2}, {"train": 9, "test": 2}),
        ({"train": 100}, {"train": 90, "test": 10}),
        ({"train": 9, "test": 3, "validation": 2}, {"train": 9, "validation": 2, "test": 3}),
    ],
)
def test_splits(published, expected):
    infos = {split: _Split(count) for split, count in published.items()}
    stored, _ = tfds_names.splits(infos)
    assert {split: stop - start for split, (_, start, stop) in stored.items()} == expected


def test_a_data_set_without_training_images():
    with pytest.raises(InputError, match="no split 'train', only test"):
        tfds_names.splits({"test": _Split(3)})


def test_without_a_network_it_fails_at_once(monkeypatch, tmp_path):
    def nowhere(*_):
        raise socket.gaierror("no name server")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(InputError, match=r"importlib_resources|no network") as caught:
        tfgen.data.load("cifar100", options={"data_dir": str(tmp_path)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(30, 50, 3), (50, 30, 1), (16, 16, 4), (8, 8, 3)])
@pytest.mark.parametrize("image_shape", [(16, 16, 3), (12, 20, 1)])
def test_fit(shape, image_shape):
    image = tf.fill(shape, tf.constant(255, tf.uint8))
    result = fit(image, image_shape)
    assert result.dtype == tf.uint8
    assert (result.numpy() == 255).all()
    assert result.shape == image_shape


def test_fit_agrees_with_pillow():
    from PIL import Image, ImageOps

    smooth = np.fromfunction(lambda y, x, c: 100 + y + 2 * x + 9 * c, (30, 46, 3)).astype(np.uint8)
    expected = ImageOps.fit(Image.fromarray(smooth), (15, 15), method=Image.Resampling.BICUBIC)
    difference = fit(tf.constant(smooth), (15, 15, 3)).numpy().astype(int) - np.asarray(expected)
    assert np.abs(difference[1:-1, 1:-1]).max() <= 1
