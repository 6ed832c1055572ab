"""`tfgen train`: one line and exit code 2 for bad input, any folder of images, the dry run."""

import shutil

import numpy as np
import pytest
from PIL import Image

import tfgen
from tfgen import cli
from tfgen.export import cards, source

SMALL = ["--epochs", "1", "--set", "hidden_units=[8]"]


def folder_without_images(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.png").write_text("no picture")
    return str(folder)


def folder_with_a_test_split_only(tmp_path):
    for split in ("learning", "test"):
        (tmp_path / "split" / split).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "split" / split / "0.png")
    return str(tmp_path / "split")


def folder_with_one_image(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "photos" / "0.png")
    return str(tmp_path / "photos")


def finished_run(tmp_path):
    return str(shutil.copytree(tfgen.zoo.directory("vae-digits"), tmp_path / "finished"))


def two_lengths(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(
        "data: {source: digits}\nmodel: {class: VAE, latent_dim: 2}\n"
        "training: {epochs: 1, hours: 2}\n"
    )
    return str(path)


BAD_TRAININGS = {
    "no recipe": (lambda p: [], "no RECIPE given"),
    "unknown recipe": (lambda p: ["vae-digit"], "nearest: vae-digits, "),
    "unknown key": (lambda p: ["vae-digits", "--set", "epoch=3"], "nearest: training.epochs"),
    "no value": (lambda p: ["vae-digits", "--set", "epochs"], "expected key=value"),
    "zero epochs": (lambda p: ["vae-digits", "--epochs", "0"], "training.epochs"),
    "missing data": (lambda p: ["vae-digits", "--data", "mnist", "--data-dir", str(p)], "mnist"),
    "unknown data": (lambda p: ["vae-digits", "--data", "digit"], "digits"),
    "no such folder": (lambda p: ["vae-digits", "--data", str(p / "nowhere")], "nowhere"),
    "no readable image": (
        lambda p: ["vae-digits", "--data", folder_without_images(p)],
        "no readable image",
    ),
    "wrong shape": (
        lambda p: ["vae-digits", "--set", "data.image_shape=[28, 28, 1]"],
        "digits has images of shape (8, 8, 1)",
    ),
    "too many levels": (lambda p: ["glow-digits", "--set", "levels=4"], "levels up to 3 work"),
    "rgb for bernoulli": (
        lambda p: ["vae-digits", "--data", "shapes"],
        "likelihood='quantized_logistic'",
    ),
    "held run": (lambda p: ["vae-digits", "--out", finished_run(p)], "already contains a run"),
    "bad activation": (
        lambda p: ["vae-digits", "--set", "activation=foo"],
        "invalid arguments of VAE",
    ),
    "not a class": (lambda p: ["vae-digits", "--set", "model.class=noise"], "nearest: Glow, VAE"),
    "too deep a key": (
        lambda p: ["vae-digits", "--set", "data.options.a.b=3"],
        "data.options.a.b: there is no such key",
    ),
    "not UTF-8": (lambda p: ["vae-digits", "--out", f"{p}/\udce9"], "is not UTF-8, and TensorFlow"),
    "path under a file": (lambda p: ["vae-digits", "--out", "/dev/null/x"], "/dev/null"),
    "recipe after set": (lambda p: ["--set", "epochs=1", "vae-digits"], "must come before --set"),
    "test images only": (
        lambda p: ["vae-digits", "--data", folder_with_a_test_split_only(p)],
        "none named train",
    ),
    "best of nothing": (
        lambda p: ["vae-digits", "--set", "weights=best", "data.validation=0"],
        "training.weights=best needs validation images, and digits has none",
    ),
    "one image": (
        lambda p: ["vae-digits", "--data", folder_with_one_image(p), "--set", "data.validation=0"],
        "photos has no split 'test', which the evaluation needs; it has train",
    ),
    "endless": (lambda p: ["vae-digits", "--set", "hours=.inf"], "training.hours: input should be"),
    "unknown home": (lambda p: ["vae-digits", "--data", "~nobody-here/x"], "~nobody-here/x"),
    "unknown home of data": (
        lambda p: ["vae-digits", "--data", "mnist", "--data-dir", "~nobody-here/x"],
        "~nobody-here/x: there is no home directory of that name",
    ),
    "initial weights of nothing": (
        lambda p: ["vae-digits", "--initial", "vae-digit"],
        "no model 'vae-digit': it is neither a directory nor one of",
    ),
    "initial weights of another": (
        lambda p: ["vae-digits", "--initial", "glow-digits"],
        "they belong to a Glow, but the recipe's model is a VAE",
    ),
    "initial weights of no name": (
        lambda p: ["vae-digits", "--initial", ""],
        "has no card.json: it holds no finished model",
    ),
    "resumed with weights": (
        lambda p: ["--resume", "--initial", "vae-digits"],
        "omit RECIPE, --set, --data, --initial",
    ),
    "no such gpu": (lambda p: ["vae-digits", "--devices", "gpu:64"], "TensorFlow found"),
    "no such strategy": (lambda p: ["vae-digits", "--strategy", "both"], "auto, single, mirrored"),
    "no workers": (lambda p: ["vae-digits", "--strategy", "multi_worker"], "TF_CONFIG must list"),
    "nothing to resume": (lambda p: ["--resume"], "there is no run to resume"),
    "resumed with a recipe": (lambda p: ["vae-digits", "--resume"], "omit RECIPE"),
    "misspelt decay": (lambda p: ["vae-digits", "--set", "decay=cosin"], "schedule.decay"),
    "misspelt schedule": (
        lambda p: ["vae-digits", "--set", "warmup_step=3"],
        "nearest: schedule.warmup_steps",
    ),
    "two lengths": (lambda p: [two_lengths(p)], "got epochs and hours"),
}


@pytest.mark.parametrize("case", BAD_TRAININGS)
def test_bad_training_input_gets_one_line_and_writes_nothing(case, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("TFGEN_DATA", raising=False)
    words, message = BAD_TRAININGS[case]
    words = words(tmp_path)
    if "--out" not in words:
        words += ["--out", str(tmp_path / "out")]
    before = sorted(tmp_path.rglob("*"))
    assert cli.train(words) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith("tfgen-train: error: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def folder_of_images(folder):
    folder.mkdir()
    for i in range(20):
        Image.fromarray(np.full((8, 8), 10 * i, "uint8")).save(folder / f"{i}.png")


@pytest.mark.parametrize("name", ["2024", "my #1 photos", "a: b", "null", "[red] :boom:"])
def test_folders_may_have_any_name(name, tmp_path, monkeypatch, capsys):
    folder_of_images(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert cli.train(["vae-digits", "--data", name, "--dry-run", *SMALL]) == 0
    assert f" images (8, 8, 1) of {name}, 1 device" in capsys.readouterr().out


def test_runs_may_have_names_that_are_markup_of_the_console(tmp_path, monkeypatch, capsys):
    name = "[red] :boom:"
    folder_of_images(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    out = f"out/{name}"
    long = ["optimizer.learning_rate=0.05", "--epochs", "60"]
    assert cli.train(["vae-digits", "--data", name, "--out", out, *SMALL, *long]) == 0
    assert tfgen.zoo.card(out)["recipe"]["data"]["source"] == name
    first, *_, last = said = capsys.readouterr().out.splitlines()
    assert f" images (8, 8, 1) of {name}, 1 device" in first
    assert name in [line.strip() for line in said]  # the title of the table
    assert last == f"Saved in {out}"


def test_a_folder_may_have_a_name_that_is_not_text(tmp_path, monkeypatch, capsysbinary):
    folder_of_images(tmp_path / "caf\udce9")
    monkeypatch.chdir(tmp_path)
    long = ["optimizer.learning_rate=0.05", "--epochs", "60"]
    assert cli.train(["vae-digits", "--data", "caf\udce9", "--out", "run", *SMALL, *long]) == 0
    assert b" images (8, 8, 1) of caf\xe9, 1 device" in capsysbinary.readouterr().out
    assert "caf\\udce9" in (tmp_path / "run" / "README.md").read_text("utf-8")


def test_a_model_worse_than_uniform_noise_is_an_error(tmp_path, capfd):
    """The model is kept, and wherever it appears it is said to be useless."""
    out = str(tmp_path / "out")
    untrained = ["optimizer.learning_rate=1e-9", "batch_size=1293"]
    assert cli.train(["vae-digits", "--out", out, *SMALL, *untrained]) == 1
    printed, error = capfd.readouterr()
    assert "worse than uniform noise" in error
    assert "where uniform noise needs 1; it was saved in" in error
    assert "train longer" in error
    assert error.count("\n") == 1
    assert "Saved in" not in printed
    assert "worse than uniform noise" in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert tfgen.zoo.load(out).latent_dim == 8
    assert cli.main(["evaluate", out]) == 0
    assert "worse than uniform noise" in " ".join(capfd.readouterr().out.split())
    exported = cards.new(source.Source(out), "SavedModel")
    assert "worse than uniform noise" in exported["model"]["problem"]


def test_a_dry_run_prints_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.train(["vae-digits", "--dry-run", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "parameters" in out
    assert "MiB" in out
    assert "21 steps" in out
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_missing_data_says_where_it_looked_and_how_to_get_them(tmp_path, capfd):
    assert cli.train(["vae-digits", "--data", "mnist", "--data-dir", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert str(tmp_path) in error
    assert "TFGEN_DATA" in error
    assert "train-images-idx3-ubyte" in error
