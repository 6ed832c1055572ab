"""The further figures of cards, with models of which the right answer is known."""

import numpy as np
import pytest

import tfgen
from tfgen.data.sources.shapes import FACTORS, render
from tfgen.errors import InputError
from tfgen.evaluation import attributes, class_samples, figures


@pytest.fixture(scope="module")
def shapes():
    return tfgen.data.load("shapes", options={"num_images": 6000, "num_test_images": 300})


def test_hue_area_and_centre_are_read_from_the_pixels(shapes):
    labels, found = shapes.labels("test"), attributes.measured(shapes.images("test"))
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
    """Its latents are the factors that images were drawn from; moving them draws other images."""

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
        for axis in ("x", "y"):  # So that no shape leaves the picture.
            factors[axis] = np.clip(factors[axis], 0.2, 0.8)
        return render(factors, 32)


@pytest.mark.parametrize("attribute", attributes.ATTRIBUTES)
def test_directions_that_move_the_attribute_are_told_from_those_that_do_not(attribute, shapes):
    right, _ = attributes.moved(Factors(shapes), shapes, attribute, alone=True)
    assert 20 < len(right) <= 300
    assert right.mean() > 0.95
    wrong, amount = attributes.moved(Factors(shapes, wrong_way=True), shapes, attribute)
    if attribute == "hue":
        assert amount > 1  # Around the circle the wrong way leads there too.
    else:
        assert wrong.mean() < 0.05


class Blob(Factors):
    """It answers every direction with the same shape, which is on the right, low, green and big."""

    def manipulate(self, images, direction, amount):
        factors = {"shape": 0, "hue": 1 / 3, "x": 0.75, "y": 0.75, "size": 0.2, "background": 0.2}
        factors = {name: np.full(len(images), factors[name]) for name in FACTORS}
        return render(factors, 32)


@pytest.mark.parametrize("attribute", attributes.ATTRIBUTES)
def test_a_shape_that_replaces_the_image_moves_but_not_alone(attribute, shapes):
    assert attributes.moved(Blob(shapes), shapes, attribute)[0].mean() > 0.95
    assert attributes.moved(Blob(shapes), shapes, attribute, alone=True)[0].mean() < 0.05


class ShortDirections(Factors):
    def attribute_direction(self, images_with, images_without):
        return super().attribute_direction(images_with, images_without) / 64


def test_a_direction_is_added_as_often_as_training_images_need(shapes):
    assert attributes.moved(Factors(shapes), shapes, "size")[1] == attributes.AMOUNTS[0]
    right, amount = attributes.moved(ShortDirections(shapes), shapes, "size")
    assert amount > 1.0
    assert right.mean() > 0.9


def test_unknown_attributes_are_named(shapes):
    with pytest.raises(InputError, match="attribute must be one of hue, size, x, y, got 'colour'"):
        attributes.moved(Factors(shapes), shapes, "colour")


GLOW = {"levels": 1, "depth": 1, "width": 4}


@pytest.mark.parametrize(
    ("model", "data", "unknown", "known"),
    [
        (lambda: tfgen.zoo.load("vae-digits"), "digits", "moves_hue", ""),
        (lambda: tfgen.zoo.load("vae-digits"), "digits", "samples_as_asked", ""),
        (lambda: tfgen.zoo.load("glow-digits"), "digits", "moves_only_x", ""),
        (
            lambda: tfgen.models.Glow((8, 8, 1), num_classes=10, **GLOW),
            "digits",
            "accuracy",
            ", samples_as_asked",
        ),
        (
            lambda: tfgen.models.Glow((32, 32, 3), **GLOW),
            "shapes",
            "moves_colour",
            ", moves_hue, moves_size, moves_x, moves_y, moves_only_hue, .*, moves_only_y",
        ),
    ],
)
def test_figures_that_the_model_or_the_data_do_not_have_are_refused(model, data, unknown, known):
    options = {"num_images": 8, "num_test_images": 8} if data == "shapes" else None
    data = tfgen.data.load(data, options=options)
    message = (
        f"no figure '{unknown}' of this model on {data.name}; "
        f"there are bits_per_dim, nats, nats_importance_weighted{known}$"
    )
    with pytest.raises(InputError, match=message):
        figures.measure(unknown, model(), data)


class Retrieval:
    """Its samples of a class are test images of that class, or of the next one."""

    num_classes = 10
    num_tight_samples = 1

    def __init__(self, data, shift=0):
        self._images, self._labels, self._shift = data.images("test"), data.labels("test"), shift

    def protocol(self):
        return {"dims": 64, "bits": 8, "dequantization": "uniform", "samples": 1}

    def sample(self, n, temperature, seed, labels):
        del temperature, seed
        of_class = [np.flatnonzero(self._labels == label) for label in range(10)]
        rows = [
            of_class[(label + self._shift) % 10][i // 10 % 20] for i, label in enumerate(labels)
        ]
        return self._images[rows]


def test_samples_are_judged_by_a_classifier(monkeypatch):
    monkeypatch.setattr(class_samples, "EPOCHS", 8)
    digits = tfgen.data.load("digits")
    judge = class_samples.classifier(digits)
    monkeypatch.setattr(class_samples, "classifier", lambda data: judge)
    found = figures.measure("samples_as_asked", Retrieval(digits), digits)
    assert found["value"] > 0.85
    assert found["protocol"]["images"] == 1000
    assert "right on 9" in found["protocol"]["bound"]
    assert figures.measure("samples_as_asked", Retrieval(digits, 1), digits)["value"] < 0.05


def test_the_bound_of_many_samples_is_the_mean_of_its_images():
    digits = tfgen.data.load("digits")
    model = tfgen.zoo.load("vae-digits")
    found = figures.measure("nats_importance_weighted", model, digits, num_samples=3)
    nats = -model.log_prob(digits.images("test"), num_samples=3).numpy()
    assert found["value"] == pytest.approx(nats.mean(), abs=1e-4)
    assert found["protocol"]["samples"] == 3
    assert found["protocol"]["bound"] == "lower bound, 3 importance samples"
    card = tfgen.zoo.card("vae-digits")["metrics"]["nats"]["protocol"]
    assert found["protocol"].keys() == card.keys()
