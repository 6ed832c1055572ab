"""The distance between samples and images, against its formula, and what cards recommend."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import tfgen
from tfgen.evaluation import pictures, report, temperature
from tfgen.files import sha256

TOOL = Path(__file__).parents[2] / "tools" / "temperatures.py"


def square_root(matrix):
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.sqrt(np.clip(values, 0, None))) @ axes.T


def test_the_distance_is_that_of_two_normal_distributions():
    """Of the features on the reference's principal components, scaled to variance 1."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(60, 60))
    reference = generator.normal(size=(500, 60)) @ mixing
    other = 0.7 * generator.normal(size=(400, 60)) @ mixing + generator.normal(size=60)
    _, scales, axes = np.linalg.svd(reference - reference.mean(axis=0), full_matrices=False)
    axes, scales = axes[: temperature.COMPONENTS], scales[: temperature.COMPONENTS]
    one, two = (x @ axes.T / (scales / np.sqrt(499)) for x in (reference, other))
    first, second = np.cov(one.T), np.cov(two.T)
    root = square_root(first)
    cross = square_root(root @ second @ root)
    expected = np.sum((one.mean(axis=0) - two.mean(axis=0)) ** 2)
    expected += np.trace(first + second - 2 * cross)
    assert temperature.frechet_distance(reference, other) == pytest.approx(expected, rel=1e-6)
    assert temperature.frechet_distance(reference, reference) == pytest.approx(0, abs=1e-9)


def test_features_are_those_of_each_image_alone():
    images = tfgen.data.load("digits").images("test")[:300]
    found = temperature.features(images)
    np.testing.assert_allclose(found[260:], temperature.features(images[260:]), 1e-5, 1e-6)
    assert np.mean(found.std(axis=0) > 0) > 0.8


def test_the_tool_writes_the_best_temperature_into_a_card(tmp_path, monkeypatch, capsys):
    model = tfgen.zoo.load("vae-digits")
    source = tfgen.zoo.card("vae-digits")
    card = {key: source[key] for key in source if key not in ("files", "sampling", "check")}
    pictures.samples(model).save(tmp_path / "samples.png")
    model.save_preset(tmp_path, card={**card, "pictures": ["samples"]})
    before = sha256(tmp_path / "samples.png")
    monkeypatch.setattr(temperature, "distances", lambda *args, **options: {0.5: 2.0, 1.0: 3.0})
    monkeypatch.setattr("sys.argv", ["temperatures.py", str(tmp_path), "--write"])
    runpy.run_path(str(TOOL))["main"]()
    written = tfgen.zoo.card(tmp_path)
    assert written["sampling"]["temperature"] == report.temperature(written) == 0.5
    assert written["sampling"]["distances"] == {"0.5": 2.0, "1": 3.0}
    readme = (tmp_path / "README.md").read_text("utf-8")
    assert "temperature=0.5" in readme
    assert "Samples at temperature 0.5." in readme
    assert sha256(tmp_path / "samples.png") == written["files"]["samples.png"] != before
    assert tfgen.zoo.load(tmp_path).latent_dim == model.latent_dim
    assert "empty 0.0%" in capsys.readouterr().out
