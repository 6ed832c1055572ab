"""Every pretrained model: whole, as good as its card says, and loaded without a network."""

import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.models import preset
from tfgen.training.evaluation import evaluate

EVERY = pytest.mark.parametrize("name", tfgen.zoo.list())


def test_the_first_models_are_there_and_small():
    assert {"vae-digits", "glow-digits"} <= set(tfgen.zoo.list())
    sizes = [
        sum(path.stat().st_size for path in tfgen.zoo.directory(name).iterdir())
        for name in ("vae-digits", "glow-digits")
    ]
    assert sum(sizes) < 2_000_000


@EVERY
def test_its_files_have_their_digests(name):
    directory = tfgen.zoo.directory(name)
    card = tfgen.zoo.card(name)
    assert card["name"] == name
    for file, digest in card["files"].items():
        assert preset.sha256(directory / file) == digest
    assert {path.name for path in directory.iterdir()} == {*card["files"], "card.json"}


@EVERY
def test_it_loads_without_a_network(name, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a model was loaded through the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert tfgen.zoo.load(name).sample(2, seed=0).shape[0] == 2


@EVERY
def test_its_figures_are_those_of_its_card(name):
    card, model = tfgen.zoo.card(name), tfgen.zoo.load(name)
    data = tfgen.data.load(card["data"]["name"])
    found = evaluate(model, data, "test")
    for metric, entry in card["metrics"].items():
        assert found[metric]["protocol"] == entry["protocol"]
        assert found[metric]["value"] == pytest.approx(entry["value"], rel=1e-4)


@EVERY
def test_the_noise_of_log_prob_stands_for_that_of_training(name):
    """A mean over the test images hardly depends on which noise meets them."""
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
    expected, found = tfgen.zoo.card(copy)["files"][file], preset.sha256(copy / file)
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
    assert [path.name for path in (tmp_path / "model").iterdir()] == [preset.CONFIG]
