"""The commands that use a model: evaluate, sample, interpolate, export."""

import json
import shutil

import numpy as np
from PIL import Image

import tfgen
from tfgen import cli
from tfgen.data.image_files import read_files
from tfgen.evaluation import pictures


def test_evaluate_reproduces_the_card(capsys):
    assert cli.main(["evaluate", "vae-digits"]) == 0
    value = tfgen.zoo.card("vae-digits")["metrics"]["bits_per_dim"]["value"]
    assert f"{value:.3f}" in capsys.readouterr().out


def test_evaluate_takes_the_images_that_the_card_names(tmp_path, capsys):
    words = ["vae-digits", "--data", "shapes", "--epochs", "40", "--out", str(tmp_path / "run")]
    options = ["data.options.num_images=96", "data.options.num_test_images=32"]
    more = ["data.options.seed=7", "likelihood=quantized_logistic", "hidden_units=[8]"]
    more += ["optimizer.learning_rate=0.01"]
    assert cli.train([*words, "--set", *options, *more]) == 0
    card = tfgen.zoo.card(tmp_path / "run")
    metric = card["metrics"]["bits_per_dim"]
    assert metric["protocol"]["images"] == 32
    assert "seed=7" in metric["protocol"]["data"]
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0
    assert f"{metric['value']:.3f}" in capsys.readouterr().out


def test_evaluate_measures_every_metric_of_a_card_by_its_protocol(tmp_path, capsys):
    directory = shutil.copytree(tfgen.zoo.directory("vae-digits"), tmp_path / "model")
    card = tfgen.zoo.card(directory)
    nats = card["metrics"]["nats"]
    protocol = {**nats["protocol"], "samples": 3}
    card["metrics"]["nats_importance_weighted"] = {**nats, "protocol": protocol}
    (directory / "card.json").write_text(json.dumps(card))
    assert cli.main(["evaluate", str(directory)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    images = tfgen.data.load("digits").images("test")
    tight = -tfgen.zoo.load(directory).log_prob(images, num_samples=3).numpy().mean()
    for value in (nats["value"], card["metrics"]["bits_per_dim"]["value"], tight):
        assert f"{value:.3f}" in out
    assert cli.main(["evaluate", str(directory), "--metric", "nats"]) == 0
    out = capsys.readouterr().out
    assert f"{nats['value']:.3f}" in out
    assert f"{tight:.3f}" not in out
    assert f"{card['metrics']['bits_per_dim']['value']:.3f}" not in out


def test_sample_writes_a_grid(tmp_path, capsys):
    out = tmp_path / "grid.png"
    words = ["--temperature", "0.7", "--seed", "1", "--grid", "2x3", "--out", str(out)]
    assert cli.main(["sample", "glow-digits", *words]) == 0
    picture = np.asarray(Image.open(out))
    images = tfgen.zoo.load("glow-digits").sample(6, temperature=0.7, seed=1)
    expected = np.asarray(tfgen.evaluation.pictures.grid(images, columns=3))
    np.testing.assert_array_equal(picture, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_sample_draws_one_class(tmp_path):
    model = tfgen.models.Glow((4, 4, 1), levels=1, depth=1, width=4, num_classes=3)
    prior = model._class_prior.trainable_weights
    for weight in prior:
        weight.assign_add(np.random.default_rng(0).normal(size=weight.shape).astype("float32"))
    model.save_preset(tmp_path / "model")
    words = ["--label", "2", "--grid", "1x3", "--seed", "1", "--out", str(tmp_path / "s.png")]
    assert cli.main(["sample", str(tmp_path / "model"), *words]) == 0
    expected = np.asarray(pictures.grid(model.sample(3, 1.0, 1, labels=2), columns=3))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "s.png")), expected)


def test_interpolate_draws_the_images_between_files_and_between_samples(
    saved, folder, tmp_path, capsys
):
    out = tmp_path / "between.png"
    files = [str(folder / name) for name in ("a.png", "b.png")]
    assert cli.main(["interpolate", saved["glow"], *files, "--steps", "4", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"1 x 4 images in {out}\n"
    first, second = read_files(files, (8, 8, 1))
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


def test_export_writes_both_kinds(tmp_path, capfd):
    assert cli.main(["export", "vae-digits", str(tmp_path / "served")]) == 0
    assert (tmp_path / "served" / "1" / "saved_model.pb").exists()
    file = tmp_path / "vae.tflite"
    assert cli.main(["export", "vae-digits", str(file), "--precision", "int8"]) == 0
    out, error = capfd.readouterr()
    assert error == ""
    assert f"Exported to {file}" in out
    card = tfgen.export.card(file)
    assert card["precision"] == "int8"
    assert f"log_prob is left out: {card['left_out']['log_prob']['reason']}"[:60] in out
    for name in card["signatures"]:
        assert f"{card['latency'][name]:.3f}" in out
