"""Every command prints help, runs, answers in JSON, and reports bad input in one line."""

import importlib
import json
import pkgutil
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfgen
from tfgen import cli
from tfgen.models import preset


def damaged_model(tmp_path):
    directory = shutil.copytree(tfgen.zoo.directory("vae-digits"), tmp_path / "damaged")
    content = bytearray((directory / preset.WEIGHTS).read_bytes())
    content[1000] ^= 255
    (directory / preset.WEIGHTS).write_bytes(content)
    return str(directory)


def model_to_fetch(_):
    return str(tfgen.zoo.directory("vae-digits"))


def taken_version(tmp_path):
    (tmp_path / "served" / "3").mkdir(parents=True)
    return str(tmp_path / "served")


def folder_of_an_image(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "images" / "a.png")
    return str(tmp_path / "images")


def exported_model(tmp_path):
    """The part of a SavedModel that `deploy` reads."""
    version = tmp_path / "vae" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    return str(version.parent)


def deployment(tmp_path):
    labels = {"vae": {"stable": 1}}
    models = {"vae": exported_model(tmp_path)}
    return str(tfgen.export.deploy.write(tmp_path / "deployment", models, labels=labels))


def given(words, tmp_path):
    """A case's words; functions are replaced by their results, {tmp} by the test's directory."""
    return [word(tmp_path) if callable(word) else word.format(tmp=tmp_path) for word in words]


RUNS = {
    "train": (["vae-digits", "--dry-run"], "parameters"),
    "evaluate": (["vae-digits", "--metric", "nats"], "vae-digits"),
    "sample": (
        ["vae-digits", "--grid", "1x2", "--out", "{tmp}/a.png"],
        "2 samples at temperature 1 in",
    ),
    "interpolate": (["vae-digits", "--rows", "1", "--out", "{tmp}/a.png"], "1 x 8 images in"),
    "score": (["vae-digits", folder_of_an_image], "a.png"),
    "fetch": ([damaged_model], None),
    "export": (["vae-digits", "{tmp}/served"], "Exported to"),
    "deploy": (["{tmp}/deployed", exported_model], "Wrote"),
    "promote": (["vae", deployment, "1"], "stable of vae is version 1"),
    "serve": ([], None),
    "zoo": ([], "vae-digits"),
    "devices": ([], "CPU:0"),
    "completion": (["bash"], "complete "),
}
FAILS = {
    "fetch": "expected sha256",
    "serve": "give exactly one of BASE_DIR|NAME, --model_config_file and --model_base_path",
}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_prints_help_and_runs(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0
    assert cli.COMMANDS[name].summary in " ".join(capsys.readouterr().out.split())
    words, printed = RUNS[name]
    code = cli.main([name, *given(words, tmp_path)])
    out, error = capsys.readouterr()
    if printed is None:  # `serve` would wait for requests; `fetch` gets a damaged model.
        assert code == 2
        assert FAILS[name] in error
    else:
        assert code == 0, error
        assert printed in out


PICTURE = {"model", "file", "rows", "columns", "temperature", "seed"}
DRY_RUN = {"parameters", "images", "steps", "steps_per_epoch", "batch_size", "memory"}
JSON = {
    "train": (["vae-digits", "--dry-run"], DRY_RUN),
    "evaluate": (["vae-digits", "--metric", "nats"], {"model", "data", "split", "metrics"}),
    "sample": (["vae-digits", "--grid", "1x2", "--out", "{tmp}/a.png"], PICTURE | {"label"}),
    "interpolate": (["vae-digits", "--out", "{tmp}/a.png"], PICTURE | {"images"}),
    "score": (
        ["vae-digits", folder_of_an_image],
        {"model", "folder", "estimator", "images", "resized", "left_out"},
    ),
    "fetch": ([model_to_fetch], {"model", "directory", "name", "state", "repaired"}),
    "export": (["vae-digits", "{tmp}/served"], {"model", "path", "format", "card"}),
    "deploy": (["{tmp}/deployed", exported_model], {"path", "models", "labels"}),
    "promote": (["vae", deployment, "1"], {"model", "label", "version", "step"}),
    "zoo": (["vae-digits"], set(tfgen.zoo.card("vae-digits"))),
    "devices": ([], {"tensorflow", "devices", "gpu"}),
}


@pytest.mark.parametrize("name", JSON)
def test_commands_print_json_and_nothing_else(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    words, keys = JSON[name]
    assert cli.main([name, *given(words, tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == keys


@pytest.mark.parametrize("case", ["unknown model", "no folder", "no such split", "no source"])
def test_errors_are_no_json(case, capfd):
    words, message = BAD[case]
    assert cli.main([*words, "--json"]) == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert message in error


def test_the_guide_has_every_command_and_every_key():
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text("utf-8")
    overview, json_keys = text.split("\n## JSON\n")
    for name in cli.COMMANDS:
        assert f"\n| `{name}" in overview
        assert (f"\n| `{name}" in json_keys) == (name in JSON)
    for name, (words, keys) in JSON.items():
        if name != "zoo":  # the keys of a card
            form = f"{name} --dry-run" if "--dry-run" in words else name
            row = re.search(rf"^\| `{form}` \|.*", json_keys, re.MULTILINE)[0]
            assert set(re.findall(r"`(\w+)`", row)) >= keys


@pytest.mark.parametrize("name", sorted(cli.COMMANDS.keys() - JSON.keys()))
def test_commands_that_report_nothing_have_no_json(name, capsys):
    assert cli.main([name, "--json"]) == 2
    assert "there is no option --json" in capsys.readouterr().err


def test_every_function_that_adds_arguments_belongs_to_a_command():
    modules = [
        importlib.import_module(m.name)
        for m in pkgutil.iter_modules(cli.__path__, "tfgen.cli.")
        if not m.name.endswith("__main__")
    ]
    found = {
        value
        for module in modules
        for name, value in vars(module).items()
        if name.endswith("_arguments") and value.__module__ == module.__name__
    }
    assert found == {command.add_arguments for command in cli.COMMANDS.values()}
    assert RUNS.keys() == cli.COMMANDS.keys()


BAD = {
    "unknown model": (["sample", "vae-digit"], "did you mean vae-digits?"),
    "unknown option": (["sample", "x", "--temprature", "1"], "did you mean --temperature?"),
    "unknown option first": (["score", "--num_samples=2"], "did you mean --num-samples?"),
    "unknown letter": (["sample", "vae-digits", "-x"], "there is no option '-x'"),
    "one word too many": (["sample", "vae-digits", "b"], "unexpected argument 'b'"),
    "no word": (["completion"], "the following arguments are required: SHELL"),
    "unknown shell": (["completion", "zs"], "must be one of bash, zsh, fish, got 'zs'; did you"),
    "not a number": (["sample", "vae-digits", "--seed", "1.5"], "invalid int value: '1.5'"),
    "NaN": (["sample", "vae-digits", "--temperature", "nan"], "number >= 0, got nan"),
    "lines": (["sample", "vae-digits", "--out", "a\nb/c.png"], "--out a\\nb/c.png: there is no"),
    "escapes": (["score", "vae-digits", "\x1b[31m"], "\\x1b[31m is not a directory"),
    "misspelt metric": (["evaluate", "vae-digits", "--metric", "nat"], "did you mean nats?"),
    "misspelt split": (["evaluate", "vae-digits", "--split", "tests"], "did you mean test?"),
    "damaged weights": (["sample", damaged_model], "is damaged: expected sha256"),
    "no model there": (["evaluate", "{tmp}"], "holds no finished model"),
    "bad grid": (["sample", "vae-digits", "--grid", "8"], "ROWSxCOLUMNS"),
    "odd grid": (["sample", "vae-digits", "--grid", "²x8"], "ROWSxCOLUMNS"),
    "huge seed": (
        ["sample", "vae-digits", "--seed", "9" * 20],
        "must be an integer from -9223372036854775808",
    ),
    "unwritable picture": (["sample", "vae-digits", "--out", "a.psd"], "unknown image format"),
    "bad temperature": (["sample", "vae-digits", "--temperature=-1"], "number >= 0"),
    "bad picture": (["sample", "vae-digits", "--out", "grid.txt"], "unknown image format"),
    "no classes": (["sample", "vae-digits", "--label", "1"], "vae-digits has no classes"),
    "no version": (["sample", "vae-digits@7"], "no version 7 of 'vae-digits'"),
    "bad split": (["evaluate", "vae-digits", "--split", "dev"], "has no split 'dev'"),
    "wrong shape": (
        ["evaluate", "vae-digits", "--data", "shapes"],
        "shapes has images of shape (32, 32, 3), not (8, 8, 1)",
    ),
    "no metric": (["evaluate", "vae-digits", "--metric", "beauty"], "no metric 'beauty' of this"),
    "no such data": (["evaluate", "vae-digits", "--metric", "moves_hue"], "no metric 'moves_hue'"),
    "no such model": (
        ["evaluate", "vae-digits", "--metric", "sample_class_accuracy"],
        "no metric 'sample_class_accuracy' of this model on digits",
    ),
    "no such split": (
        ["evaluate", "vae-digits", "--metric", "nats_importance_weighted", "--split", "train"],
        "nats_importance_weighted needs the test split of the model's training data",
    ),
    "no folder": (["score", "vae-digits", "nowhere"], "nowhere is not a directory"),
    "no home": (["score", "vae-digits", "~nobody-here/x"], "~nobody-here/x: there is no home"),
    "no images": (["score", "vae-digits", "."], "holds no readable image"),
    "no samples": (
        ["score", "vae-digits", ".", "--num-samples", "0"],
        "--num-samples must be a positive integer",
    ),
    "no place": (["score", "vae-digits", ".", "--out", "no/x.csv"], "there is no directory no"),
    "out is a directory": (["score", "vae-digits", ".", "--out", "."], "--out . is a directory"),
    "one image": (["interpolate", "vae-digits", "a.png"], "IMAGE must be given in pairs"),
    "no image": (["interpolate", "vae-digits", "a.png", "b.png"], "a.png does not exist"),
    "folders": (["interpolate", "vae-digits", "{tmp}", "b.png"], "is a directory: give an image"),
    "no steps": (["interpolate", "vae-digits", "--steps", "1"], "--steps must be an integer"),
    "infinite": (["interpolate", "vae-digits", "--temperature=inf"], "number >= 0, got inf"),
    "no rows": (
        ["interpolate", "vae-digits", "--rows", "0"],
        "--rows must be a positive integer, got 0",
    ),
    "rows of images": (
        ["interpolate", "vae-digits", "a.png", "b.png", "--rows", "3"],
        "--rows applies to samples: omit it or the image files",
    ),
    "seed of images": (
        ["interpolate", "vae-digits", "a.png", "b.png", "--seed", "0"],
        "--seed applies to samples: omit it or the image files",
    ),
    "no home of a source": (["fetch", "~nobody-here/x"], "~nobody-here/x: there is no home"),
    "no source": (["fetch", "nowhere"], "nowhere is neither a directory nor an http or https URL"),
    "export to bytes": (["export", "vae-digits", "{tmp}/\udce9"], "is not UTF-8, and TensorFlow"),
    "export under a file": (["export", "vae-digits", "/dev/null/x"], "/dev/null"),
    "bad version": (["export", "vae-digits", "{tmp}/x", "--version", "0"], "version"),
    "version of tflite": (
        ["export", "vae-digits", "{tmp}/x.tflite", "--version", "2"],
        "TFLite file has no version",
    ),
    "unknown precision": (
        ["export", "vae-digits", "{tmp}/x.tflite", "--precision", "int3"],
        "one of float32, float16, dynamic_int8, int8, got 'int3'; did you mean int8?",
    ),
    "precision of a SavedModel": (
        ["export", "vae-digits", "{tmp}/x", "--precision", "int8"],
        "OUT does not end in .tflite",
    ),
    "export to nowhere": (["export", "vae-digits", "{tmp}/no/x.tflite"], "there is no directory"),
    "export over a version": (
        ["export", "vae-digits", taken_version, "--version", "3"],
        "3 exists: choose another version",
    ),
    "export of no model": (["export", "vae-digit", "{tmp}/x"], "no model 'vae-digit'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(case, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, message = BAD[case]
    words = given(words, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(words) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith(f"tfgen {words[0]}: error: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_shape_is_refused_before_the_data_are_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path))
    assert cli.main(["evaluate", "vae-digits", "--data", "shapes"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_checked_before_one_is_measured(monkeypatch, capsys):
    def measure(*arguments):
        raise AssertionError

    monkeypatch.setattr(tfgen.evaluation.metrics, "likelihood", measure)
    assert cli.main(["evaluate", "vae-digits", "--metric", "nats", "beauty"]) == 2
    assert "no metric 'beauty'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no COMMAND is given; tfgen --help describes the arguments"),
        (["evalute", "vae-digits"], "there is no command 'evalute'; did you mean evaluate?"),
        (["--verison"], "there is no option --verison; did you mean --version?"),
        (["xyzzy"], "there is no command 'xyzzy'; tfgen --help describes the arguments"),
    ],
)
def test_a_wrong_command_is_one_line(words, message, capsys):
    assert cli.main(words) == 2
    assert capsys.readouterr().err == f"tfgen: error: {message}\n"
