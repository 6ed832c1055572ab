"""The training data of a card, and the tools that use it: here a folder named like a data set."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import pictures
from tfgen.training import recipe, run
from tfgen.zoo import trained_on


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "digits"
    for split, count in (("train", 20), ("test", 3)):
        (folder / split).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 256, (16, 20), "uint8")
            Image.fromarray(pixels).save(folder / split / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """Noise, of which no model is better than uniform noise."""
    settings = ["epochs=1", "latent_dim=2", "hidden_units=[8]", "data.image_shape=[8, 8, 1]"]
    chosen = recipe.load("vae-digits", settings, {"data.source": str(folder)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "refuse_if_worse_than_uniform", lambda directory: directory)
        return run.train(chosen, tmp_path_factory.mktemp("run") / "of-digits")


def test_a_folder_is_that_of_the_path_and_not_a_data_set_of_its_name(finished, folder):
    card = tfgen.zoo.card(finished)
    assert card["data"]["name"] == "digits"
    data = trained_on.load(card)
    assert data.splits == card["data"]["splits"] == {"train": 18, "validation": 2, "test": 3}
    expected = tfgen.data.load(folder, image_shape=(8, 8, 1)).images("test")
    np.testing.assert_array_equal(data.images("test"), expected)


def test_options_belong_to_the_data():
    section = {"source": "shapes", "options": {"num_images": 40, "num_test_images": 10, "seed": 7}}
    card = {"name": "mine", "image_shape": [32, 32, 3], "recipe": {"data": section}}
    data = trained_on.load(card)
    assert data.splits == {"train": 40, "test": 10}
    expected = tfgen.data.load("shapes", options=section["options"]).images("test")
    np.testing.assert_array_equal(data.images("test"), expected)
    with pytest.raises(InputError, match="the card of mine names no training data"):
        trained_on.load({"name": "mine", "image_shape": [8, 8, 1]})


def main_of(tool, monkeypatch, *words):
    """A tool's `main` for these words, and the names that it looks up."""
    path = Path(__file__).parents[2] / "tools" / f"{tool}.py"
    main = runpy.run_path(str(path))["main"]
    monkeypatch.setattr("sys.argv", [str(path), *map(str, words)])
    return main, main.__globals__


def test_the_calibration_is_on_images_of_the_folder(finished, monkeypatch, capsys):
    main, names = main_of("calibrate_vae", monkeypatch, finished)
    monkeypatch.setitem(names, "estimators", lambda model, seed: [])
    main()
    assert capsys.readouterr().out.startswith("digits, 3 test images, 2 latents; ")


def test_the_evaluation_is_on_images_of_the_folder(finished, monkeypatch):
    main, names = main_of("evaluate_vae", monkeypatch, finished)
    counts = []

    def report(name, compute):
        if name == "ELBO":
            counts.append(len(compute()))

    monkeypatch.setitem(names, "report", report)
    main()
    assert counts == [3]


def test_the_pictures_are_of_images_of_the_folder(finished, monkeypatch, tmp_path):
    main, _ = main_of("pictures", monkeypatch, finished, "--out", tmp_path)
    shown = []
    monkeypatch.setattr(pictures, "of_model", lambda m, images, t: shown.append(images) or {})
    main()
    assert [len(images) for images in shown] == [3]
