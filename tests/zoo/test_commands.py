"""The commands that use a model: score, interpolate, sample of a class, fetch, zoo."""

import csv
import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import tfgen
from tfgen import cli
from tfgen.evaluation import likelihood as scoring
from tfgen.evaluation import pictures
from tfgen.models.glow import dequantization_draws
from tfgen.models.noise import ImageNoise


@pytest.fixture(scope="module")
def images():
    return tfgen.data.load("digits").images("test")[:5]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The directories of two small models, by their kind."""
    folder = tmp_path_factory.mktemp("models")
    models = {
        "glow": tfgen.models.Glow((8, 8, 1), levels=1, depth=1, width=4),
        "vae": tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[8]),
    }
    for name, model in models.items():
        model.save_preset(folder / name)
    return {name: str(folder / name) for name in models}


@pytest.fixture
def folder(tmp_path, images):
    """Three images of the model's shape, one of another, and a file that is none."""
    (tmp_path / "images" / "more").mkdir(parents=True)
    for name, image in zip(["b.png", "a.png", "more/c.png"], images, strict=False):
        Image.fromarray(image[..., 0]).save(tmp_path / "images" / name)
    Image.fromarray(np.repeat(np.repeat(images[3][..., 0], 2, 0), 2, 1)).save(
        tmp_path / "images" / "large.png"
    )
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


@pytest.mark.parametrize("model", ["glow", "vae"])
@pytest.mark.parametrize("draws", [1, 3])
def test_score_writes_the_log_likelihood_of_each_image(model, draws, saved, folder, images, capsys):
    model = saved[model]
    assert cli.main(["score", model, str(folder), "--draws", str(draws)]) == 0
    out, error = capsys.readouterr()
    assert error == (
        "tfgen score: 1 of 4 images, large.png the first, are not of 8x8 and were fitted to it, "
        "which changes their likelihood\n"
        "tfgen score: left out: notes.txt: not an image of a known format\n"
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["file"] for row in rows] == ["a.png", "b.png", "large.png", "more/c.png"]
    loaded = tfgen.zoo.load(model)
    nats, words = scoring.score(loaded, images[[1, 0, 2]], draws)
    of_ours = [row for row in rows if row["file"] != "large.png"]
    np.testing.assert_allclose([float(row["log_prob"]) for row in of_ours], nats, rtol=1e-4)
    np.testing.assert_allclose(
        [float(row["bits_per_dim"]) for row in of_ours], -nats / (64 * np.log(2)), rtol=1e-4
    )
    assert {row["estimator"] for row in rows} == {words}
    if draws == 1:
        np.testing.assert_array_equal(nats, loaded.log_prob(images[[1, 0, 2]]))


def test_score_writes_a_file(saved, folder, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    assert cli.main(["score", saved["glow"], str(folder), "--out", str(out)]) == 0
    words = "lower bound, uniform dequantization, 1 draw"
    assert capsys.readouterr().out == f"4 images in {out}: {words}\n"
    assert len(out.read_text().splitlines()) == 5


def test_score_writes_names_that_are_no_text(saved, folder, tmp_path, capsysbinary):
    name = b"caf\xe9 \xff.png"
    (folder / "a.png").rename(folder / os.fsdecode(name))
    out = tmp_path / "scores.csv"
    assert cli.main(["score", saved["vae"], str(folder)]) == 0
    assert cli.main(["score", saved["vae"], str(folder), "--out", str(out)]) == 0
    printed = capsysbinary.readouterr().out
    for table in (printed, out.read_bytes()):
        assert name in [row.split(b",")[0] for row in table.splitlines()]


@pytest.mark.parametrize("linked", [False, True])
def test_score_writes_into_a_pipe_and_leaves_it_one(linked, saved, folder, tmp_path, capsys):
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    out.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        words = ["--out", str(out if linked else pipe)]
        assert cli.main(["score", saved["vae"], str(folder), *words]) == 0
        content = os.read(reader, 100_000).decode()
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert out.is_symlink()
    assert [row["file"] for row in csv.DictReader(io.StringIO(content))] == [
        *("a.png", "b.png", "large.png", "more/c.png")
    ]
    assert capsys.readouterr().out == ""


def test_score_writes_the_file_behind_a_link(saved, folder, tmp_path, capsys):
    out, file = tmp_path / "out.csv", tmp_path / "scores.csv"
    out.symlink_to(file)
    for _ in range(2):  # It is not there, then it is.
        assert cli.main(["score", saved["vae"], str(folder), "--out", str(out)]) == 0
        assert capsys.readouterr().out.startswith(f"4 images in {out}: ")
        assert out.is_symlink()
        assert len(file.read_text().splitlines()) == 5


def test_score_takes_the_place_of_a_link_to_itself(saved, folder, tmp_path):
    out = tmp_path / "loop"
    out.symlink_to(out)
    assert cli.main(["score", saved["vae"], str(folder), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 5


@pytest.mark.parametrize("dequantization", ["uniform", "variational"])
def test_draws_average_the_density_over_other_noise_and_begin_with_log_prob(dequantization):
    model = tfgen.models.Glow(
        (4, 4, 1), levels=1, depth=1, width=4, dequantization=dequantization, dequantization_depth=1
    )
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(generator.normal(size=weight.shape, scale=0.1).astype("float32"))
    images = generator.integers(0, 256, (3, 4, 4, 1), "uint8")
    one, two, same = (
        dequantization_draws.log_likelihood(model, images, k).numpy().astype("float64")
        for k in (1, 2, 2)
    )
    np.testing.assert_array_equal(one, model.log_prob(images))
    np.testing.assert_array_equal(two, same)
    np.testing.assert_array_equal(
        dequantization_draws.log_likelihood(model, images[1:2], 2), two[1:2].astype("float32")
    )
    turns = np.random.RandomState(1).uniform(size=(2, 4, 4, 1)).astype("float32")
    kind = model._dequantization.noise
    base = ImageNoise((4, 4, 1)).uniform(images, (2, 4, 4, 1) if kind == "normal" else (4, 4, 1))
    uniform = np.mod(base + (turns if kind == "normal" else turns[0]), 1.0).astype("float32")
    if kind == "normal":
        radius, angle = uniform[:, 0], uniform[:, 1]
        uniform = np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * np.pi * angle)
    second = model._log_density(*model._dequantized(images, uniform))[0].numpy().astype("float64")
    np.testing.assert_allclose(two, np.logaddexp(one, second) - np.log(2), rtol=1e-5)


def test_interpolate_draws_the_images_between_files_and_between_samples(
    saved, folder, tmp_path, capsys
):
    out = tmp_path / "between.png"
    files = [str(folder / name) for name in ("a.png", "b.png")]
    assert cli.main(["interpolate", saved["glow"], *files, "--steps", "4", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"1 x 4 images in {out}\n"
    first, second = scoring.read_images(files, (8, 8, 1))
    model = tfgen.zoo.load(saved["glow"])
    between = model.interpolate(first[None], second[None], 4)[0]
    expected = np.asarray(pictures.grid(between, columns=4))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)
    words = ["--rows", "2", "--steps", "3", "--seed", "1", "--out", str(out)]
    assert cli.main(["interpolate", saved["glow"], *words]) == 0
    ends = model.sample(4, 1.0, 1)
    between = np.concatenate(model.interpolate(ends[::2], ends[1::2], 3))
    expected = np.asarray(pictures.grid(between, columns=3))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


def test_sample_draws_one_class(tmp_path):
    model = tfgen.models.Glow((4, 4, 1), levels=1, depth=1, width=4, num_classes=3)
    prior = model._class_prior.trainable_weights
    for weight in prior:
        weight.assign_add(np.random.default_rng(0).normal(size=weight.shape).astype("float32"))
    model.save_preset(tmp_path / "model")
    words = ["--label", "2", "--grid", "1x3", "--seed", "1", "--out", str(tmp_path / "s.png")]
    assert cli.main(["sample", str(tmp_path / "model"), *words]) == 0
    expected = np.asarray(pictures.grid(model.sample(3, 1.0, 1, y=2), columns=3))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "s.png")), expected)


def test_fetch_and_zoo_know_models_without_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4])
    model.save_preset(tmp_path / "mine")
    assert cli.main(["fetch", str(tmp_path / "mine")]) == 0
    where = tmp_path / "home" / "fetched" / "mine@1"
    assert capsys.readouterr().out.endswith(f"Fetched mine@1 to {where}; its name is mine\n")
    assert cli.main(["zoo"]) == 0
    assert "mine " in capsys.readouterr().out


def test_fetch_says_which_name_is_that_of_the_fetched_model(tmp_path, capsys, monkeypatch):
    """Not that of a model of the same name in a place that comes before."""
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    source, card = tmp_path / "source", tfgen.zoo.card("vae-digits")
    shutil.copytree(tfgen.zoo.directory("vae-digits"), source)
    (source / "card.json").write_text(json.dumps({**card, "version": 2}))
    assert cli.main(["fetch", str(source)]) == 0
    assert capsys.readouterr().out.endswith("vae-digits@2; its name is vae-digits@2\n")
    assert tfgen.zoo.card("vae-digits@2")["version"] == 2
    shutil.copytree(source, tmp_path / "home" / "zoo" / "vae-digits")
    assert cli.main(["fetch", str(source)]) == 0
    where = tmp_path / "home" / "fetched" / "vae-digits@2"
    assert capsys.readouterr().out.endswith(f"; its name is {where}\n")


def test_zoo_shows_a_damaged_card_and_any_summary_among_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    for name, text in {
        "cut": '{"name": "cut", "fi',
        "latin": '{"name": "\xe9"}',
        "list": '{"files": {}, "metrics": []}',
        "null": '{"files": {}, "parameters": null}',
        "unit": '{"files": {}, "metrics": {"bits_per_dim": {"value": 1}}}',
        "odd": '{"files": {}, "summary": "of [/data] [red] :boom:"}',
    }.items():
        (tmp_path / "zoo" / name).mkdir(parents=True)
        (tmp_path / "zoo" / name / "card.json").write_text(text, "latin-1")
    assert cli.main(["zoo"]) == 0
    rows = capsys.readouterr().out
    for name in ("cut", "latin", "list", "null", "unit"):
        assert f"\n{name} " in rows
        assert f"{tmp_path / 'zoo' / name / 'card.json'} is damaged: " in rows
    assert " of [/data] [red] :boom: " in rows
    assert "\nvae-digits " in rows


def test_evaluate_measures_every_figure_of_a_card_by_its_protocol(tmp_path, capsys):
    directory = shutil.copytree(tfgen.zoo.directory("vae-digits"), tmp_path / "model")
    card = tfgen.zoo.card(directory)
    nats = card["metrics"]["nats"]
    protocol = {**nats["protocol"], "samples": 3}
    card["metrics"]["nats_importance_weighted"] = {**nats, "protocol": protocol}
    (directory / "card.json").write_text(json.dumps(card))
    assert cli.main(["evaluate", str(directory)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    images = tfgen.data.load("digits").images("test")
    tight = -tfgen.zoo.load(directory).log_prob(images, importance_samples=3).numpy().mean()
    for value in (nats["value"], card["metrics"]["bits_per_dim"]["value"], tight):
        assert f"{value:.3f}" in out
    assert cli.main(["evaluate", str(directory), "--figure", "nats"]) == 0
    out = capsys.readouterr().out
    assert f"{nats['value']:.3f}" in out
    assert f"{tight:.3f}" not in out
    assert f"{card['metrics']['bits_per_dim']['value']:.3f}" not in out


BAD = {
    "no figure": (["evaluate", "vae-digits", "--figure", "beauty"], "no figure 'beauty' of this"),
    "no such data": (["evaluate", "vae-digits", "--figure", "moves_hue"], "no figure 'moves_hue'"),
    "no such model": (
        ["evaluate", "vae-digits", "--figure", "samples_as_asked"],
        "no figure 'samples_as_asked' of this model on digits",
    ),
    "no such split": (
        ["evaluate", "vae-digits", "--figure", "beauty", "--split", "train"],
        "beauty is a figure of the test split of digits",
    ),
    "no folder": (["score", "vae-digits", "nowhere"], "nowhere is no folder"),
    "no home": (["score", "vae-digits", "~nobody-here/x"], "~nobody-here/x: there is no home"),
    "no home of a source": (["fetch", "~nobody-here/x"], "~nobody-here/x: there is no home"),
    "no images": (["score", "vae-digits", "."], "holds no readable image"),
    "no draws": (["score", "vae-digits", ".", "--draws", "0"], "draws must be a positive integer"),
    "no place": (["score", "vae-digits", ".", "--out", "no/x.csv"], "there is no directory no"),
    "out is a directory": (["score", "vae-digits", ".", "--out", "."], "--out . is a directory"),
    "one image": (["interpolate", "vae-digits", "a.png"], "images come in pairs"),
    "no image": (["interpolate", "vae-digits", "a.png", "b.png"], "a.png: No such file"),
    "no steps": (["interpolate", "vae-digits", "--steps", "1"], "steps must be an integer"),
    "no rows": (["interpolate", "vae-digits", "--rows", "0"], "--rows must be at least 1"),
    "rows of images": (
        ["interpolate", "vae-digits", "a.png", "b.png", "--rows", "3"],
        "--rows is of samples, and there are images",
    ),
    "seed of images": (
        ["interpolate", "vae-digits", "a.png", "b.png", "--seed", "0"],
        "--seed is of samples, and there are images",
    ),
    "no classes": (["sample", "vae-digits", "--label", "1"], "vae-digits has no classes"),
    "no source": (["fetch", "nowhere"], "nowhere is no folder and no http or https address"),
    "no version": (["sample", "vae-digits@7"], "no version 7 of 'vae-digits'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, message = BAD[case]
    assert cli.main(words) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith(f"tfgen {words[0]}: error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
