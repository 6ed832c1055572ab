"""Every command prints help, runs, and reports bad input in one line with exit code 2."""

import importlib
import pkgutil
import shutil

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


def given(words, tmp_path):
    """A case's words; functions are replaced by their results, {tmp} by the test's directory."""
    return [word(tmp_path) if callable(word) else word.format(tmp=tmp_path) for word in words]


RUNS = {
    "train": (["vae-digits", "--dry-run"], "parameters"),
    "evaluate": (["vae-digits", "--metric", "nats"], "vae-digits"),
    "sample": (["vae-digits", "--grid", "1x2", "--out", "{tmp}/a.png"], "2 samples in"),
    "interpolate": (["vae-digits", "--rows", "1", "--out", "{tmp}/a.png"], "1 x 8 images in"),
    "score": (["vae-digits", folder_of_an_image], "a.png"),
    "fetch": ([damaged_model], None),
    "export": (["vae-digits", "{tmp}/served"], "Exported to"),
    "deploy": (["{tmp}/deployed", exported_model], "Wrote"),
    "serve": ([], None),
    "zoo": ([], "vae-digits"),
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
    "unknown model": (["sample", "vae-digit"], "vae-digits"),
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
        ["evaluate", "vae-digits", "--metric", "beauty", "--split", "train"],
        "--metric beauty needs the test split of the model's training data",
    ),
    "no folder": (["score", "vae-digits", "nowhere"], "nowhere is not a directory"),
    "no home": (["score", "vae-digits", "~nobody-here/x"], "~nobody-here/x: there is no home"),
    "no images": (["score", "vae-digits", "."], "holds no readable image"),
    "no samples": (
        ["score", "vae-digits", ".", "--num-samples", "0"],
        "num_samples must be a positive integer",
    ),
    "no place": (["score", "vae-digits", ".", "--out", "no/x.csv"], "there is no directory no"),
    "out is a directory": (["score", "vae-digits", ".", "--out", "."], "--out . is a directory"),
    "one image": (["interpolate", "vae-digits", "a.png"], "IMAGE must be given in pairs"),
    "no image": (["interpolate", "vae-digits", "a.png", "b.png"], "a.png: No such file"),
    "no steps": (["interpolate", "vae-digits", "--steps", "1"], "steps must be an integer"),
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
    "export under a file": (["export", "vae-digits", "/dev/null/x"], "/dev/null"),
    "bad version": (["export", "vae-digits", "{tmp}/x", "--version", "0"], "version"),
    "version of tflite": (
        ["export", "vae-digits", "{tmp}/x.tflite", "--version", "2"],
        "TFLite file has no version",
    ),
    "unknown precision": (
        ["export", "vae-digits", "{tmp}/x.tflite", "--precision", "int3"],
        "one of float32, float16, dynamic_int8, int8, got 'int3'",
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
