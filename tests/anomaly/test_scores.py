"""Anomaly scores: against closed forms, where likelihood works and where it fails."""

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import tfgen
from tfgen.anomaly import scores as anomaly
from tfgen.errors import InputError


class Independent:
    """A model of independent pixels with binomial levels, for which log p(x) is known."""

    num_dims = 64

    def log_prob(self, images, num_samples=1):
        return stats.binom(255, 0.5).logpmf(images).sum((1, 2, 3)).astype("float32")

    bound = "exact"


@pytest.fixture(scope="module")
def own():
    """Images that the model draws: noise around the middle grey."""
    return np.random.default_rng(0).binomial(255, 0.5, (200, 8, 8, 1)).astype("uint8")


def areas(own, others):
    model = Independent()
    reference = np.random.default_rng(1).binomial(255, 0.5, (200, 8, 8, 1)).astype("uint8")
    usual, unusual = (anomaly.anomaly_scores(model, images, reference) for images in (own, others))
    return {score: anomaly.auroc(usual[score], unusual[score]) for score in anomaly.SCORES}


def test_unlikely_images_are_found_by_likelihood(own):
    bright = np.random.default_rng(2).integers(0, 256, own.shape).astype("uint8")
    found = areas(own, bright)
    assert found["likelihood"] == found["typicality"] == 1.0


def test_likelihood_fails_on_the_likeliest_image_and_the_other_scores_do_not(own):
    """Flat grey is the likeliest image of all, but no draw of the model ever looks like it."""
    flat = np.full_like(own, 127)
    flat[:, 0, 0, 0] = np.arange(len(flat)) % 2 + 127
    found = areas(own, flat)
    assert found["likelihood"] == 0.0
    assert found["typicality"] == 1.0
    assert found["complexity"] > 0.99


def test_scores_are_their_equations(own):
    scores = anomaly.anomaly_scores(Independent(), own[:3], own[3:])
    nats = -stats.binom(255, 0.5).logpmf(own).sum((1, 2, 3))
    np.testing.assert_allclose(scores["likelihood"], nats[:3], rtol=1e-6)
    np.testing.assert_allclose(scores["typicality"], np.abs(nats[:3] - nats[3:].mean()), atol=1e-3)
    bits = anomaly.compressed_bits(own[:3])
    np.testing.assert_allclose(scores["complexity"], nats[:3] / np.log(2) - bits, rtol=1e-5)


def test_compressed_bits_are_the_shorter_of_two_files(own, tmp_path):
    image = Image.fromarray(own[0, ..., 0])
    image.save(tmp_path / "a.png", optimize=True)
    image.save(tmp_path / "a.webp", lossless=True, quality=100, method=4)
    shortest = min(path.stat().st_size for path in tmp_path.iterdir())
    assert anomaly.compressed_bits(own[:1]) == [8 * shortest]
    with pytest.raises(InputError, match="grey or RGB"):
        anomaly.compressed_bits(np.zeros((1, 4, 4, 2), "uint8"))


def test_the_tool_compares_the_available_data_sets(monkeypatch, capsys):
    import runpy
    from pathlib import Path

    tool = Path(__file__).parents[2] / "tools" / "anomaly.py"
    monkeypatch.setattr("sys.argv", [str(tool), "vae-digits:digits", "--images", "100"])
    runpy.run_path(str(tool), run_name="__main__")
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[:2] == ["| vae-digits", "digits"]
    np.testing.assert_allclose([float(area.strip(" |")) for area in row[3:]], 0.5)  # Its own data.
    assert tfgen.zoo.card("vae-digits")["data"]["name"] == "digits"


def test_infinite_scores_are_ranked_and_nan_is_refused():
    usual, unusual = [0.0, 1.0, -np.inf], [0.5, np.inf, np.inf]
    above = [(u > v) + 0.5 * (u == v) for u in unusual for v in usual]
    assert anomaly.auroc(usual, unusual) == pytest.approx(np.mean(above))
    with pytest.raises(InputError, match="1 of 4 scores are NaN"):
        anomaly.auroc([0.0, np.nan], [1.0, 2.0])
