"""Attribute directions, with models for which the right answer is known."""

import functools
import types

import numpy as np
import pytest

import tfgen
from tfgen.data.sources.shapes import FACTORS, render
from tfgen.errors import InputError
from tfgen.evaluation import attribute_directions as directions


@pytest.fixture(scope="module")
def shapes():
    """A data set whose splits are read once."""
    data = tfgen.data.load("shapes", options={"num_images": 6000, "num_test_images": 300})
    images, labels = functools.cache(data.images), functools.cache(data.labels)
    return types.SimpleNamespace(name=data.name, images=images, labels=labels)


def test_hue_area_and_centre_are_read_from_the_pixels(shapes):
    labels, found = shapes.labels("test"), directions.measure(shapes.images("test"))
    turns = (found["hue"] - labels["hue"] + 0.5) % 1 - 0.5
    assert np.abs(turns).max() < 0.02
    circles = labels["shape"] == 0
    for axis in ("x", "y"):
        difference = np.abs(found[axis] - 32 * labels[axis])
        assert difference[labels["shape"] != 2].max() < 0.15  # A triangle's corners are cut off.
        assert difference.max() < 0.5
    area = np.pi * (32 * labels["size"][circles]) ** 2
    np.testing.assert_allclose(found["size"][circles], area, rtol=0.05)


class Factors:
    """A model whose latents are the factors of `shapes`: other latents draw other images."""

    def __init__(self, data, wrong_way=False):
        self._of = {}
        for split in ("train", "test"):
            labels = data.labels(split)
            for row, image in enumerate(data.images(split)):
                self._of[image.tobytes()] = [float(labels[factor][row]) for factor in FACTORS]
        self._sign = -1 if wrong_way else 1

    def _latents(self, images):
        return np.array([self._of[image.tobytes()] for image in images])

    def attribute_direction(self, images_with, images_without):
        difference = self._latents(images_with).mean(0) - self._latents(images_without).mean(0)
        hue = FACTORS.index("hue")  # Red is at 0 and at 1.
        hues = [self._latents(images)[:, hue] for images in (images_with, images_without)]
        means = [np.exp(2j * np.pi * h).mean() for h in hues]
        turn = np.angle(means[0] / means[1]) / (2 * np.pi)
        difference[hue] = turn if np.abs(means).min() > 0.5 else 0.0  # All hues have no mean.
        return self._sign * difference

    def reconstruct(self, images):
        return images

    def manipulate(self, images, direction, amount):
        latents = self._latents(images) + amount * direction
        factors = dict(zip(FACTORS, latents.T, strict=True))
        factors["shape"] = np.array([self._of[image.tobytes()][0] for image in images])
        factors["hue"] = factors["hue"] % 1
        for axis in ("x", "y"):  # so that no shape leaves the image
            factors[axis] = np.clip(factors[axis], 0.2, 0.8)
        return render(factors, 32)


@pytest.mark.parametrize("attribute", directions.ATTRIBUTES)
def test_directions_that_move_the_attribute_are_distinguished_from_others(attribute, shapes):
    right, _ = directions.moved(Factors(shapes), shapes, attribute, others_kept=True)
    assert 20 < len(right) <= 300
    assert right.mean() > 0.95
    wrong, amount = directions.moved(Factors(shapes, wrong_way=True), shapes, attribute)
    if attribute == "hue":
        assert amount > 1  # The other way around the hue circle leads there too.
    else:
        assert wrong.mean() < 0.05


class Blob(Factors):
    """A model that moves every image to the same shape, which is big, green and lower right."""

    def manipulate(self, images, direction, amount):
        factors = {"shape": 0, "hue": 1 / 3, "x": 0.75, "y": 0.75, "size": 0.2, "background": 0.2}
        factors = {name: np.full(len(images), factors[name]) for name in FACTORS}
        return render(factors, 32)


@pytest.mark.parametrize("attribute", directions.ATTRIBUTES)
def test_a_shape_that_replaces_the_image_moves_but_not_alone(attribute, shapes):
    assert directions.moved(Blob(shapes), shapes, attribute)[0].mean() > 0.95
    assert directions.moved(Blob(shapes), shapes, attribute, others_kept=True)[0].mean() < 0.05


class ShortDirections(Factors):
    def attribute_direction(self, images_with, images_without):
        return super().attribute_direction(images_with, images_without) / 64


def test_the_amount_is_chosen_on_training_images(shapes):
    assert directions.moved(Factors(shapes), shapes, "size")[1] == directions.AMOUNTS[0]
    right, amount = directions.moved(ShortDirections(shapes), shapes, "size")
    assert amount > 1.0
    assert right.mean() > 0.9


def test_unknown_attributes_are_named(shapes):
    with pytest.raises(InputError, match="attribute must be one of hue, size, x, y, got 'colour'"):
        directions.moved(Factors(shapes), shapes, "colour")
