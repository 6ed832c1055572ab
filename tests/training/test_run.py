"""A run directory: what it holds, and that a failed run leaves none."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import tfgen
from tfgen.errors import InputError
from tfgen.models import preset
from tfgen.training import pictures, recipe, run
from tfgen.training.evaluation import evaluate
from tfgen.training.run_directory import claimed


def short(name, *settings):
    small = {"vae-digits": ["hidden_units=[16]"], "glow-digits": ["width=8", "depth=1"]}
    return recipe.load(name, ["epochs=2", *small[name], *settings])


@pytest.fixture(scope="module", params=["vae-digits", "glow-digits"])
def finished(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / request.param
    return run.run(short(request.param), out, command=f"tfgen-train {request.param}")


def test_a_run_directory_is_a_zoo_model(finished):
    card = tfgen.zoo.card(finished)
    model = tfgen.zoo.load(finished)
    images = tfgen.data.load("digits").images("test")
    again = evaluate(model, tfgen.data.load("digits"), "test")
    assert again == card["metrics"]
    bits = again["bits_per_dim"]
    assert bits["value"] == pytest.approx(np.mean(model.bits_per_dim(images)), rel=1e-4)
    assert {"dims", "bits", "padding", "dequantization", "samples", "images"} <= set(
        bits["protocol"]
    )
    assert bits["protocol"]["images"] == 360


def test_the_card_tells_everything(finished):
    card = json.loads((finished / "card.json").read_text())
    assert card["command"] == f"tfgen-train {finished.name}"
    assert card["recipe"]["training"] == {"epochs": 2, "batch_size": 64, "seed": 0}
    assert card["data"]["splits"] == {"train": 1293, "validation": 144, "test": 360}
    assert card["training"]["images_seen"] == 2 * 1293
    assert {"tensorflow", "keras", "python", "tfgen", "devices"} <= set(card["environment"])
    files = {path.name for path in finished.iterdir() if path.is_file()}
    assert files == {*card["files"], "card.json"}
    for name, digest in card["files"].items():
        assert preset.sha256(finished / name) == digest


def test_the_pictures_and_the_readme_are_there(finished):
    card = tfgen.zoo.card(finished)
    readme = (finished / "README.md").read_text()
    for name in card["pictures"]:
        picture = np.asarray(Image.open(finished / f"{name}.png"))
        assert min(picture.shape[:2]) >= 256
        assert picture.std() > 10
        assert f"({name}.png)" in readme
    assert f"{card['metrics']['bits_per_dim']['value']:.3f}" in readme
    assert card["command"] in readme
    assert list((finished / "logs" / "train").glob("events*"))
    assert list((finished / "logs" / "validation").glob("events*"))


def test_the_same_seed_gives_the_same_weights(finished, tmp_path):
    again = run.run(short(finished.name), tmp_path / "again")
    other = run.run(short(finished.name, "seed=1"), tmp_path / "other")
    weights, same, different = (
        np.concatenate([np.ravel(w) for w in tfgen.zoo.load(d).get_weights()])
        for d in (finished, again, other)
    )
    np.testing.assert_array_equal(same, weights)
    assert np.abs(different - weights).max() > 1e-3


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_run_leaves_nothing(failure, existing, tmp_path, monkeypatch):
    def fail(self, *args, **options):
        raise failure

    monkeypatch.setattr(keras.Model, "fit", fail)
    out = tmp_path / "run"
    if existing:
        out.mkdir()
    with pytest.raises(failure):
        run.run(short("vae-digits"), out)
    assert [path.name for path in tmp_path.rglob("*")] == (["run"] if existing else [])


def test_a_directory_that_holds_something_is_left_alone(finished, tmp_path):
    before = sorted(finished.rglob("*"))
    with pytest.raises(InputError, match="already holds a run"):
        run.run(short("vae-digits"), finished)
    assert sorted(finished.rglob("*")) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        run.run(short("vae-digits"), tmp_path)
    with pytest.raises(InputError, match="is a file"):
        run.run(short("vae-digits"), tmp_path / "notes.txt")


def test_two_runs_never_share_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with claimed(None, "vae-digits") as first, claimed(None, "vae-digits") as second:
        assert [str(first), str(second)] == ["runs/vae-digits-001", "runs/vae-digits-002"]
        with pytest.raises(InputError, match="being written by another run"), claimed(first, "x"):
            pass
        (first / "weights").write_text("mine")
    assert [path.name for path in first.iterdir()] == ["weights"]


def test_a_failed_run_takes_away_the_parents_that_it_made(tmp_path):
    with pytest.raises(RuntimeError), claimed(tmp_path / "deep" / "er", "x") as out:  # noqa: PT012
        (out / "logs").mkdir()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_training_says_so_and_leaves_nothing(tmp_path):
    chosen = short("glow-digits", "learning_rate=1e12")
    with pytest.raises(InputError, match=r"diverged.*smaller optimizer.learning_rate"):
        run.run(chosen, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def images_in(folder, count, shape=(8, 8)):
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(generator.integers(0, 256, shape, "uint8")).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("name", ["vae-digits", "glow-digits"])
def test_few_test_images_are_enough(name, count, tmp_path):
    images_in(tmp_path / "images" / "train", 20)
    images_in(tmp_path / "images" / "test", count)
    settings = (f"data.source={tmp_path / 'images'}", "data.image_shape=[8, 8, 1]", "epochs=1")
    out = run.run(short(name, *settings), tmp_path / "out")
    assert tfgen.zoo.card(out)["data"]["splits"]["test"] == count


def test_runs_without_a_directory_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "vae-digits-001").mkdir(parents=True)
    chosen = short("vae-digits", "epochs=1", "data.validation=0")
    assert str(run.run(chosen)) == "runs/vae-digits-002"
    assert tfgen.zoo.card("runs/vae-digits-002")["data"]["splits"]["train"] == 1437


def test_rgb_images_of_a_folder_can_be_trained_on(tmp_path):
    generator = np.random.default_rng(0)
    for i in range(30):
        pixels = generator.integers(0, 256, (20, 24, 3), "uint8")
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    chosen = short(
        "vae-digits",
        f"data.source={tmp_path}",
        "data.image_shape=[16, 16, 3]",
        "likelihood=quantized_logistic",
    )
    out = run.run(chosen, tmp_path.parent / "run-of-folder")
    assert "Command" not in (out / "README.md").read_text("utf-8")
    assert tfgen.zoo.load(out).image_shape == (16, 16, 3)
    assert tfgen.zoo.card(out)["metrics"]["bits_per_dim"]["protocol"]["bits"] == 8


def test_a_grid_keeps_the_order_and_the_pixels():
    images = np.arange(6, dtype="uint8").reshape(6, 1, 1, 1)
    picture = np.asarray(pictures.grid(images, columns=3))
    zoom = picture.shape[1] // 7
    centres = picture[zoom + zoom // 2 :: 2 * zoom, zoom + zoom // 2 :: 2 * zoom]
    np.testing.assert_array_equal(centres, [[0, 1, 2], [3, 4, 5]])
