"""The metrics of cards other than the likelihood, with models whose metrics are known."""

import numpy as np
import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import class_accuracy, metrics

GLOW = {"levels": 1, "depth": 1, "width": 4}


@pytest.mark.parametrize(
    ("model", "data", "unknown", "known"),
    [
        (lambda: tfgen.zoo.load("vae-digits"), "digits", "moves_hue", ""),
        (lambda: tfgen.zoo.load("vae-digits"), "digits", "sample_class_accuracy", ""),
        (lambda: tfgen.zoo.load("glow-digits"), "digits", "moves_only_x", ""),
        (
            lambda: tfgen.models.Glow((8, 8, 1), num_classes=10, **GLOW),
            "digits",
            "accuracy",
            ", sample_class_accuracy",
        ),
        (
            lambda: tfgen.models.Glow((32, 32, 3), **GLOW),
            "shapes",
            "moves_colour",
            ", moves_hue, moves_size, moves_x, moves_y, moves_only_hue, .*, moves_only_y; .*",
        ),
    ],
)
def test_metrics_that_the_model_or_the_data_do_not_have_are_refused(model, data, unknown, known):
    options = {"num_images": 8, "num_test_images": 8} if data == "shapes" else None
    data = tfgen.data.load(data, options=options)
    message = (
        f"no metric '{unknown}' of this model on {data.name}; "
        f"the metrics are bits_per_dim, nats, nats_importance_weighted{known}$"
    )
    with pytest.raises(InputError, match=message):
        metrics.measure(unknown, model(), data)


class Retrieval:
    """A model whose samples of a class are test images of that class, or of the next one."""

    num_classes, num_tight_samples = 10, 1

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


def test_samples_are_classified(monkeypatch):
    monkeypatch.setattr(class_accuracy, "EPOCHS", 8)
    digits = tfgen.data.load("digits")
    classifier = class_accuracy.train_classifier(digits)
    monkeypatch.setattr(class_accuracy, "train_classifier", lambda data: classifier)
    found = metrics.measure("sample_class_accuracy", Retrieval(digits), digits)
    assert found["value"] > 0.85
    assert found["protocol"]["images"] == 1000
    assert "accuracy on the test split is 9" in found["protocol"]["bound"]
    assert metrics.measure("sample_class_accuracy", Retrieval(digits, 1), digits)["value"] < 0.05


def test_the_bound_of_many_samples_is_the_mean_of_its_images():
    digits = tfgen.data.load("digits")
    model = tfgen.zoo.load("vae-digits")
    found = metrics.measure("nats_importance_weighted", model, digits, num_samples=3)
    nll = -model.log_prob(digits.images("test"), num_samples=3).numpy()
    assert found["value"] == pytest.approx(nll.mean(), abs=1e-4)
    assert found["protocol"]["samples"] == 3
    assert found["protocol"]["bound"] == "lower bound, 3 importance samples"
    card = tfgen.zoo.card("vae-digits")["metrics"]["nats"]["protocol"]
    assert found["protocol"].keys() == card.keys()
