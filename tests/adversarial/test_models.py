"""Directories of models with cards, configurations and weights that tfgen did not write."""

import json
import shutil
import time

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import tfgen
from tfgen import cli
from tfgen.errors import InputError
from tfgen.files import read_json
from tfgen.models import preset

DEEP = '{"a":' * 50_000 + "1" + "}" * 50_000
DIGITS = '{"files": {}, "version": ' + "9" * 5000 + "}"


@pytest.fixture
def model(tmp_path):
    """A copy of `vae-digits`."""
    return shutil.copytree(tfgen.zoo.directory("vae-digits"), tmp_path / "model")


def signed(directory):
    """Write the digests and sizes of the files as they are now into the card."""
    card = read_json(directory / preset.CARD)
    card |= preset.described(directory / name for name in card["files"])
    (directory / preset.CARD).write_text(json.dumps(card))


def changed(directory, **arguments):
    config = read_json(directory / preset.CONFIG)
    config["config"] |= arguments
    (directory / preset.CONFIG).write_text(json.dumps(config))
    signed(directory)


@pytest.mark.parametrize("content", [DEEP, DIGITS, "[]", '{"files": []}', "\0", '{"files": {"'])
def test_a_damaged_card_is_a_line_of_the_list_and_no_model_is_lost(
    content, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "zoo" / "damaged").mkdir(parents=True)
    (tmp_path / "zoo" / "damaged" / preset.CARD).write_text(content)
    assert cli.main(["zoo"]) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if "damaged" in line]
    assert lines
    assert "vae-digits" in printed
    assert tfgen.zoo.load("vae-digits").latent_dim > 0
    with pytest.raises(InputError, match=preset.CARD):
        tfgen.zoo.card("damaged")


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden_units": [1] * 20_000},
        {"hidden_units": [100_000] * 2},
        {"latent_dim": 10**9},
        {"image_shape": [10**6, 10**6, 3]},
        {"image_shape": [8, 8, True]},
        {"hidden_units": {"a": 1}},
        {"latent_dim": "8"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_configuration_that_is_larger_than_its_weights_is_refused_in_seconds(arguments, model):
    changed(model, **arguments)
    start = time.monotonic()
    with pytest.raises(InputError, match=preset.CONFIG) as error:
        tfgen.zoo.load(model)
    assert time.monotonic() - start < 10
    assert len(str(error.value)) < 2000


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def not_hdf5(path):
    path.write_bytes(b"no weights")


def with_a_further_array(path):
    with h5py.File(path, "a") as file:
        file["further"] = np.zeros(3, "float32")


def without_an_array(path):
    with h5py.File(path, "a") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        del file[names[0]]


def with_a_link(path):
    with h5py.File(path, "a") as file:
        file["link"] = h5py.ExternalLink("/etc/passwd", "/")


def with_strings(path):
    with h5py.File(path, "a") as file:
        file["strings"] = ["a"] * 3


def huge(path):
    with h5py.File(path, "a") as file:
        file.create_dataset("huge", (10**12,), "float32", chunks=(2**20,))


@pytest.mark.parametrize(
    "change",
    [truncated, not_hdf5, with_a_further_array, without_an_array, with_a_link, with_strings, huge],
)
def test_weights_that_are_not_those_of_the_model_are_refused(change, model):
    path = model / preset.WEIGHTS
    change(path)
    with pytest.raises(InputError, match=f"{preset.WEIGHTS} is damaged: .*expected sha256"):
        tfgen.zoo.load(model)
    signed(model)
    with pytest.raises(InputError, match=f"{preset.WEIGHTS}.*fetch or train the model again"):
        tfgen.zoo.load(model)


def test_networks_with_variables_that_keras_does_not_save_are_loaded(tmp_path):
    """The seeds of Dropout and noise; BatchNormalization's statistics are saved."""
    image, latent = keras.Input((8, 8, 1)), keras.Input((3,))
    hidden = layers.BatchNormalization()(layers.Dense(8)(layers.Flatten()(image)))
    encoder = keras.Model(image, layers.Dense(6)(layers.GaussianNoise(0.1)(hidden)))
    hidden = layers.Dropout(0.3)(layers.Dense(8)(latent))
    decoder = keras.Model(latent, layers.Reshape((8, 8, 1))(layers.Dense(64)(hidden)))
    made = tfgen.models.VAE((8, 8, 1), latent_dim=3, encoder=encoder, decoder=decoder)
    assert len(made.variables) == len(made.weights) + 2
    images = tfgen.data.load("digits").images("test")[:8]
    made.compile(tfgen.optimizers.Adam())
    made.fit(images, epochs=2, verbose=0)
    made.save_preset(tmp_path / "model")
    loaded = tfgen.zoo.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.log_prob(images), made.log_prob(images))


def test_versions_have_up_to_eighteen_digits(model, tmp_path, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    card = read_json(model / preset.CARD) | {"name": "mine", "version": 10**18 - 1}
    (model / preset.CARD).write_text(json.dumps(card))
    shutil.copytree(model, tmp_path / "home" / "zoo" / "mine")
    assert tfgen.zoo.card(f"mine@{10**18 - 1}")["name"] == "mine"
