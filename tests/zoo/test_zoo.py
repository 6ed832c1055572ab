"""Every pretrained model: complete, as good as its card says, and loaded without a network.

Registering a model, by putting its folder into `zoo`, means that it is tested here.
"""

import functools
import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

import tfgen
from tfgen.claims.baselines import WakeSleep
from tfgen.errors import InputError
from tfgen.evaluation import metrics, report
from tfgen.files import sha256
from tfgen.models import preset
from tfgen.zoo import checking, places, trained_on

PACKAGED = sorted(
    f"{name}@{version}" if len(of_name) > 1 else name
    for name, of_name in places.versions(places.PACKAGED).items()
    for version in of_name
)
EVERY = pytest.mark.parametrize("name", PACKAGED)
DIGITS = pytest.mark.parametrize("name", ["glow-digits", "vae-digits"])
MOST_BYTES, MOST_BYTES_TOGETHER = 12_000_000, 60_000_000


@functools.cache
def loaded(name):
    return tfgen.zoo.load(name)


def images_of_the_check(name):
    """The test images that the check of a card uses; skips where the data are missing."""
    card = tfgen.zoo.card(name)
    try:
        data = trained_on.load(card)
    except InputError as error:
        pytest.skip(str(error))
    return data.images("test")[: card["check"]["images"]]


def test_the_models_are_there_and_small():
    assert {"vae-digits", "glow-digits"} <= {*PACKAGED}
    sizes = {
        name: sum(path.stat().st_size for path in tfgen.zoo.directory(name).iterdir())
        for name in PACKAGED
    }
    assert max(sizes.values()) < MOST_BYTES, sizes
    assert sum(sizes.values()) < MOST_BYTES_TOGETHER, sizes
    assert sizes["vae-digits"] + sizes["glow-digits"] < 2_000_000


@EVERY
def test_its_files_have_their_digests(name):
    directory = tfgen.zoo.directory(name)
    card = tfgen.zoo.card(name)
    assert card["name"] == places.parse(name)[0]
    for file, digest in card["files"].items():
        assert sha256(directory / file) == digest
    assert {path.name for path in directory.iterdir()} == {*card["files"], "card.json"}
    assert {"config.json", "model.weights.h5", "README.md", "golden.png"} <= {*card["files"]}


@EVERY
def test_its_card_is_complete(name):
    card = tfgen.zoo.card(name)
    protocol = {"data", "split", "images", "dims", "bits", "padding", "dequantization", "bound"}
    assert {"bits_per_dim", "nats"} <= {*card["metrics"]}
    for metric in card["metrics"].values():
        assert metric.keys() == {"value", "standard_error", "unit", "protocol"}
        assert protocol <= metric["protocol"].keys()
    assert card["command"].startswith("tfgen-train ")
    assert {"tfgen", "tensorflow", "keras", "python", "cores"} <= {*card["environment"]}
    assert card["training"]["images_seen"] > 0
    distances = card["sampling"]["distances"]
    assert distances[f"{card['sampling']['temperature']:g}"] == min(distances.values())
    check = card["check"]
    # The bits/dim of the check agree with those of all test images, up to the choice of images.
    bits = card["metrics"]["bits_per_dim"]
    images = bits["protocol"]["images"]
    deviation = bits["standard_error"] * (images / check["images"]) ** 0.5
    assert abs(check["bits_per_dim"] - bits["value"]) < 5 * deviation


@EVERY
def test_its_readme_is_written_from_its_card(name):
    directory = tfgen.zoo.directory(name)
    assert (directory / "README.md").read_text("utf-8") == report.readme(tfgen.zoo.card(name))


@EVERY
def test_it_loads_without_a_network(name, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a model was loaded through the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert loaded(name).count_params() == tfgen.zoo.card(name)["parameters"]


@EVERY
def test_fixed_noise_gives_its_golden_samples(name):
    checking.check(loaded(name), tfgen.zoo.directory(name), tfgen.zoo.card(name))


@EVERY
def test_its_likelihood_of_256_images_is_that_of_its_card(name):
    images = images_of_the_check(name)
    checking.check(loaded(name), tfgen.zoo.directory(name), tfgen.zoo.card(name), images)


@pytest.mark.parametrize("name", ["glow-digits"])
def test_a_model_that_differs_from_its_card_is_detected(name, monkeypatch):
    card, directory = tfgen.zoo.card(name), tfgen.zoo.directory(name)
    model = tfgen.zoo.load(name)
    images = images_of_the_check(name)
    worse = {
        **card,
        "check": {**card["check"], "bits_per_dim": card["check"]["bits_per_dim"] * 1.01},
    }
    with pytest.raises(InputError, match="bits/dim of 256 test images, but its card says"):
        checking.check(model, directory, worse, images)
    with pytest.raises(InputError, match="needs 256 images, got 5"):
        checking.check(model, directory, card, images[:5])
    with monkeypatch.context() as patch:
        patch.setattr(
            model, "bits_per_dim", lambda images, num_samples: np.full(len(images), np.nan)
        )
        with pytest.raises(InputError, match="nan bits/dim of 256 test images, but its card says"):
            checking.check(model, directory, card, images)
    for weight in model.trainable_weights:
        weight.assign(1.05 * weight)
    with pytest.raises(InputError, match=r"its samples differ from golden.png by"):
        checking.check(model, directory, card)


@DIGITS
def test_its_metrics_are_those_of_its_card(name):
    card, model = tfgen.zoo.card(name), loaded(name)
    data = tfgen.data.load(card["data"]["name"])
    found = metrics.likelihood(model, data, "test")
    for metric, entry in card["metrics"].items():
        assert found[metric]["protocol"] == entry["protocol"]
        assert found[metric]["value"] == pytest.approx(entry["value"], rel=1e-4)


@DIGITS
def test_the_noise_of_log_prob_is_equivalent_to_that_of_training(name):
    """The mean over the test images hardly depends on the noise that is used."""
    model = tfgen.zoo.load(name)
    data = tfgen.data.load(tfgen.zoo.card(name)["data"]["name"])
    images = data.images("test")
    found = float(np.mean(model.bits_per_dim(images)))
    model.compile("sgd", seed=1)
    losses = []
    for step in range(8):
        noise = tfgen.models.noise.StepNoise(1, step, images)
        losses.append(float(np.mean(model._training_loss(images, None, noise)[0])))
    fresh = np.mean(losses) / (model.num_dims * np.log(2.0))
    deviation = tfgen.zoo.card(name)["metrics"]["bits_per_dim"]["standard_error"]
    assert found == pytest.approx(fresh, abs=3 * deviation)


def test_a_name_a_string_and_a_path_mean_the_same():
    directory = tfgen.zoo.directory("vae-digits")
    assert (
        tfgen.zoo.card(directory) == tfgen.zoo.card(str(directory)) == tfgen.zoo.card("vae-digits")
    )


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(tfgen.zoo.directory("vae-digits"), tmp_path / "copy"))


@pytest.mark.parametrize("file", [preset.WEIGHTS, preset.CONFIG])
def test_a_damaged_file_is_named_with_both_digests(copy, file):
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    expected, found = tfgen.zoo.card(copy)["files"][file], sha256(copy / file)
    with pytest.raises(InputError, match=f"{file} is damaged: expected sha256 {expected}.*{found}"):
        tfgen.zoo.load(copy)


def test_missing_and_broken_files_are_named(copy):
    (copy / preset.WEIGHTS).unlink()
    with pytest.raises(InputError, match=f"{preset.WEIGHTS} is missing"):
        tfgen.zoo.load(copy)
    for text in ("{", "{}", "[]"):
        (copy / preset.CARD).write_text(text)
        with pytest.raises(InputError, match=r"card.json is damaged"):
            tfgen.zoo.load(copy)
    (copy / preset.CARD).unlink()
    with pytest.raises(InputError, match="holds no finished model"):
        tfgen.zoo.load(copy)
    with pytest.raises(InputError, match=r"no model 'vae-digit'.*vae-digits"):
        tfgen.zoo.load("vae-digit")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config", {"new_option": 1}, "unexpected keyword argument 'new_option'"),
        ("class", "Diffusion", "knows the models Glow, VAE, not 'Diffusion'"),
    ],
)
def test_a_model_of_a_later_version_is_refused_with_that_version(copy, key, value, message):
    content = json.loads((copy / preset.CONFIG).read_text())
    content[key] = {**content[key], **value} if isinstance(value, dict) else value
    content["tfgen_version"] = "9.9.9"
    (copy / preset.CONFIG).write_text(json.dumps(content))
    card = json.loads((copy / preset.CARD).read_text())
    card["files"][preset.CONFIG] = sha256(copy / preset.CONFIG)
    (copy / preset.CARD).write_text(json.dumps(card))
    with pytest.raises(InputError, match=message) as error:
        tfgen.zoo.load(copy)
    assert "9.9.9" in str(error.value)


def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path):
    model = WakeSleep((8, 8, 1), latent_dim=2, hidden_units=[4])
    with pytest.raises(InputError, match="WakeSleep: a directory holds one of Glow, VAE"):
        model.save_preset(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_empty_directory_does_not_hide_a_pretrained_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vae-digits").mkdir()
    assert tfgen.zoo.card("vae-digits")["name"] == "vae-digits"


def test_saving_over_a_model_is_refused(copy):
    model = tfgen.zoo.load(copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(InputError, match="already holds a model"):
        model.save_preset(copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_a_failed_save_leaves_no_card_and_no_temporary_file(tmp_path, monkeypatch):
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4])

    def fail(self, path):
        Path(path).write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(tfgen.models.VAE, "save_weights", fail)
    with pytest.raises(OSError, match="the disk is full"):
        model.save_preset(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
