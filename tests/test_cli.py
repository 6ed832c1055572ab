"""The command line: its commands, and one line with exit code 2 for bad input."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import tfgen
from tfgen import cli
from tfgen.models import preset

SMALL = ["--epochs", "1", "--set", "hidden_units=[8]"]


def program(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    "words",
    [["tfgen-train", "--help"], ["tfgen-train", "--list"], ["tfgen", "--help"], ["tfgen", "zoo"]],
)
def test_help_and_listings_answer_within_a_second(words):
    times = []
    for _ in range(3):  # the machine may be busy with something else once
        start = time.perf_counter()
        result = program(*words)
        times.append(time.perf_counter() - start)
        assert result.returncode == 0, result.stderr
        assert result.stdout
        assert not result.stderr
    assert min(times) < 1.0


def test_listings_name_everything():
    listing = program("tfgen-train", "--list").stdout
    for name in (*tfgen.training.recipe.names(), *tfgen.data.names()):
        assert name in listing
    assert all(name in program("tfgen", "zoo").stdout for name in tfgen.zoo.list())


def test_training_in_a_process_of_its_own_says_what_matters_and_nothing_else(tmp_path):
    words = ["tfgen-train", "vae-digits", *SMALL, "--out", "run", "--devices", "cpu:2"]
    result = program(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "bits/dim" in result.stdout
    assert "images/s" in result.stdout
    assert "Saved in run" in result.stdout
    assert "Traceback" not in result.stderr
    card = tfgen.zoo.card(tmp_path / "run")
    assert card["training"]["replicas"] == 2
    assert (
        card["command"]
        == "tfgen-train vae-digits --epochs 1 --devices cpu:2 --set 'hidden_units=[8]'"
    )


def test_the_run_of_a_single_device_leaves_stderr_empty(tmp_path):
    result = program("tfgen-train", "vae-digits", *SMALL, "--out", "run", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""


def test_evaluate_reproduces_the_card(capsys):
    assert cli.main(["evaluate", "vae-digits"]) == 0
    value = tfgen.zoo.card("vae-digits")["metrics"]["bits_per_dim"]["value"]
    assert f"{value:.3f}" in capsys.readouterr().out


def test_sample_writes_a_grid(tmp_path, capsys):
    out = tmp_path / "grid.png"
    words = ["--temperature", "0.7", "--seed", "1", "--grid", "2x3", "--out", str(out)]
    assert cli.main(["sample", "glow-digits", *words]) == 0
    picture = np.asarray(Image.open(out))
    images = tfgen.zoo.load("glow-digits").sample(6, temperature=0.7, seed=1)
    expected = np.asarray(tfgen.evaluation.pictures.grid(images, columns=3))
    np.testing.assert_array_equal(picture, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


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


def test_zoo_shows_what_save_preset_wrote(tmp_path, capsys):
    tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4]).save_preset(tmp_path / "mine")
    assert cli.main(["zoo", str(tmp_path / "mine")]) == 0
    assert '"name": "mine"' in capsys.readouterr().out


def test_zoo_shows_a_card(capsys):
    assert cli.main(["zoo", "vae-digits"]) == 0
    assert capsys.readouterr().out.startswith("# vae-digits")


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


def damaged_model(tmp_path):
    directory = shutil.copytree(tfgen.zoo.directory("vae-digits"), tmp_path / "damaged")
    content = bytearray((directory / preset.WEIGHTS).read_bytes())
    content[1000] ^= 255
    (directory / preset.WEIGHTS).write_bytes(content)
    return str(directory)


def two_lengths(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(
        "data: {source: digits}\nmodel: {class: VAE, latent_dim: 2}\n"
        "training: {epochs: 1, hours: 2}\n"
    )
    return str(path)


BAD_TRAININGS = {
    "no recipe": (lambda p: [], "which RECIPE? --list shows them"),
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
    "held run": (lambda p: ["vae-digits", "--out", finished_run(p)], "already holds a run"),
    "bad activation": (lambda p: ["vae-digits", "--set", "activation=foo"], "VAE refuses"),
    "not a class": (lambda p: ["vae-digits", "--set", "model.class=noise"], "nearest: Glow, VAE"),
    "too deep a key": (
        lambda p: ["vae-digits", "--set", "data.options.a.b=3"],
        "data.options.a.b: no such key",
    ),
    "path under a file": (lambda p: ["vae-digits", "--out", "/dev/null/x"], "/dev/null"),
    "recipe after set": (lambda p: ["--set", "epochs=1", "vae-digits"], "stands before --set"),
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
        "photos has no split 'test', on which the model is evaluated, only train",
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
        "they are of a Glow, and the recipe's model is a VAE",
    ),
    "initial weights of no name": (
        lambda p: ["vae-digits", "--initial", ""],
        "has no card.json: it holds no finished model",
    ),
    "resumed with weights": (
        lambda p: ["--resume", "--initial", "vae-digits"],
        "leave RECIPE, --set, --data, --initial",
    ),
    "no such gpu": (lambda p: ["vae-digits", "--devices", "gpu:64"], "TensorFlow sees"),
    "no such strategy": (lambda p: ["vae-digits", "--strategy", "both"], "auto, single, mirrored"),
    "no workers": (lambda p: ["vae-digits", "--strategy", "multi_worker"], "TF_CONFIG must list"),
    "nothing to resume": (lambda p: ["--resume"], "there is no run to go on with"),
    "resumed with a recipe": (lambda p: ["vae-digits", "--resume"], "leave RECIPE"),
    "misspelt decay": (lambda p: ["vae-digits", "--set", "decay=cosin"], "schedule.decay"),
    "misspelt schedule": (
        lambda p: ["vae-digits", "--set", "warmup_step=3"],
        "nearest: schedule.warmup_steps",
    ),
    "two lengths": (lambda p: [two_lengths(p)], "there is epochs and hours"),
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


def test_settings_beyond_the_recipe_print_nothing_of_tensorflows(tmp_path):
    words = ["vae-digits", "--dry-run", "--set", "importance_samples=2"]
    done = subprocess.run(
        [sys.executable, "-c", f"from tfgen import cli; cli.train({words})"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )
    assert done.stderr == ""
    assert done.stdout.startswith("VAE of ")


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"tfgen {tfgen.__version__}\n"


def test_evaluate_takes_the_images_that_the_card_names(tmp_path, capsys):
    words = ["vae-digits", "--data", "shapes", "--epochs", "1", "--out", str(tmp_path / "run")]
    options = ["data.options.num_images=96", "data.options.num_test_images=32"]
    more = ["data.options.seed=7", "likelihood=quantized_logistic", "hidden_units=[8]"]
    assert cli.train([*words, "--set", *options, *more]) == 0
    card = tfgen.zoo.card(tmp_path / "run")
    metric = card["metrics"]["bits_per_dim"]
    assert metric["protocol"]["images"] == 32
    assert "seed=7" in metric["protocol"]["data"]
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0
    assert f"{metric['value']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["2024", "my #1 photos", "a: b", "null", "[red] :boom:"])
def test_folders_may_have_any_name(name, tmp_path, monkeypatch, capsys):
    folder = tmp_path / name
    folder.mkdir()
    for i in range(20):
        Image.fromarray(np.full((8, 8), 10 * i, "uint8")).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    out = f"out/{name}"
    assert cli.train(["vae-digits", "--data", name, "--out", out, *SMALL]) == 0
    assert tfgen.zoo.card(out)["recipe"]["data"]["source"] == name
    first, *_, last = said = capsys.readouterr().out.splitlines()
    assert f" images (8, 8, 1) of {name}, 1 device" in first
    assert name in [line.strip() for line in said]  # the title of the table
    assert last == f"Saved in {out}"


def test_sigterm_saves_and_resume_goes_on(tmp_path):
    words = ["tfgen-train", "vae-digits", "--out", "run", "--epochs", "30"]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("run/logs/train/events*")):  # the first step comes next
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + signal.SIGTERM
    message = r"tfgen-train: stopped at step \d+ of 630 and saved; go on with: (.*)\n"
    command = re.fullmatch(message, error)[1]
    assert command == "tfgen-train --resume --out run"
    result = program(*command.split(), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "resumed at step" in result.stdout
    assert "Saved in run" in result.stdout
    assert tfgen.zoo.card(tmp_path / "run")["command"] == "tfgen-train vae-digits --epochs 30"


def test_a_dry_run_prints_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.train(["vae-digits", "--dry-run", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "parameters" in out
    assert "MiB" in out
    assert "21 steps" in out
    assert list(tmp_path.iterdir()) == []


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path, capfd):
    assert cli.train(["vae-digits", "--data", "mnist", "--data-dir", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert str(tmp_path) in error
    assert "TFGEN_DATA" in error
    assert "train-images-idx3-ubyte" in error


def taken_version(tmp_path):
    (tmp_path / "served" / "3").mkdir(parents=True)
    return str(tmp_path / "served")


BAD_COMMANDS = {
    "unknown model": (lambda p: ["sample", "vae-digit"], "vae-digits"),
    "damaged weights": (lambda p: ["sample", damaged_model(p)], "is damaged: expected sha256"),
    "no model there": (lambda p: ["evaluate", str(p)], "holds no finished model"),
    "bad grid": (lambda p: ["sample", "vae-digits", "--grid", "8"], "ROWSxCOLUMNS"),
    "odd grid": (lambda p: ["sample", "vae-digits", "--grid", "²x8"], "ROWSxCOLUMNS"),
    "huge seed": (lambda p: ["sample", "vae-digits", "--seed", "9" * 20], "integer of 64 bits"),
    "unwritable picture": (lambda p: ["sample", "vae-digits", "--out", "a.psd"], "kind of picture"),
    "export under a file": (lambda p: ["export", "vae-digits", "/dev/null/x"], "/dev/null"),
    "bad temperature": (lambda p: ["sample", "vae-digits", "--temperature=-1"], "number >= 0"),
    "bad picture": (lambda p: ["sample", "vae-digits", "--out", "grid.txt"], "kind of picture"),
    "bad split": (lambda p: ["evaluate", "vae-digits", "--split", "dev"], "has no split 'dev'"),
    "wrong shape": (
        lambda p: ["evaluate", "vae-digits", "--data", "shapes"],
        "shapes has images of shape (32, 32, 3), not (8, 8, 1)",
    ),
    "bad version": (lambda p: ["export", "vae-digits", str(p / "x"), "--version", "0"], "version"),
    "version of tflite": (
        lambda p: ["export", "vae-digits", str(p / "x.tflite"), "--version", "2"],
        "TFLite file has none",
    ),
    "unknown precision": (
        lambda p: ["export", "vae-digits", str(p / "x.tflite"), "--precision", "int3"],
        "one of float32, float16, dynamic_int8, int8, got 'int3'",
    ),
    "precision of a SavedModel": (
        lambda p: ["export", "vae-digits", str(p / "x"), "--precision", "int8"],
        "OUT does not end in .tflite",
    ),
    "export to nowhere": (
        lambda p: ["export", "vae-digits", str(p / "no" / "x.tflite")],
        "there is no directory",
    ),
    "export over a version": (
        lambda p: ["export", "vae-digits", taken_version(p), "--version", "3"],
        "3 exists: choose another version",
    ),
    "export of no model": (lambda p: ["export", "vae-digit", str(p / "x")], "no model 'vae-digit'"),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_bad_input_of_the_other_commands(case, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, message = BAD_COMMANDS[case]
    words = words(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(words) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith(f"tfgen {words[0]}: error: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_process_exits_with_code_2():
    result = program("tfgen-train", "vae-digit")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert program("tfgen", "nonsense").returncode == 2


def test_defects_keep_their_traceback(monkeypatch):
    def fail(*arguments, **options):
        raise ValueError("a defect")

    monkeypatch.setattr(tfgen.zoo, "load", fail)
    with pytest.raises(ValueError, match="a defect"):
        cli.main(["sample", "vae-digits"])


def test_interrupted_commands_say_so(monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(tfgen.zoo, "load", interrupt)
    assert cli.main(["sample", "vae-digits"]) == 130
    assert capsys.readouterr().err == "tfgen sample: interrupted\n"


def test_the_module_runs_too():
    assert program(sys.executable, "-m", "tfgen.cli", "--help").returncode == 0
