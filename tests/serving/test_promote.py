"""A label moves in steps that TF Serving accepts; `tfgen promote` and `tfgen deploy`."""

import shutil
import threading

import pytest

from tfgen import cli
from tfgen.errors import InputError
from tfgen.export import Client, deploy
from tfgen.export.serving import model_config
from tfgen.export.serving.server import Server

NAME = "vae-digits"


@pytest.fixture
def versions(base, tmp_path):
    """A base directory with versions 1 and 2."""
    for version in ("1", "2"):
        shutil.copytree(base / "1", tmp_path / "m" / version)
    return tmp_path / "m"


@pytest.fixture
def directory(versions, tmp_path):
    return deploy.write(tmp_path / "out", {"m": versions}, labels={"m": {"stable": 1}})


def served(file):
    """The versions that a file asks for, and its labels."""
    (model,) = model_config.read(file).model_config_list.config
    return list(model.model_version_policy.specific.versions), dict(model.version_labels)


def test_both_are_served_before_the_label_moves(directory):
    file = directory / "config" / "models.config"
    assert served(file) == ([1], {"stable": 1})
    assert deploy.promote(directory, "m", 2) == "loading"
    assert served(file) == ([1, 2], {"stable": 1})
    assert deploy.promote(directory, "m", 2) == "moved"
    assert served(file) == ([1, 2], {"stable": 2})
    assert deploy.promote(directory, "m", 2) == "done"
    assert served(file) == ([2], {"stable": 2})
    assert (directory / "kubernetes" / "base" / "models.config").read_text() == file.read_text()
    assert not list(file.parent.glob(".*"))


def test_other_labels_keep_their_versions(directory):
    deploy.promote(directory, "m", 2, label="canary")
    assert deploy.promote(directory, "m", 2, label="canary") == "moved"
    assert served(directory / "config" / "models.config") == ([1, 2], {"stable": 1, "canary": 2})


@pytest.mark.parametrize("label", ["stable", "a?b #%25"])
def test_a_server_follows_both_steps_without_a_failed_request(directory, versions, images, label):
    file = directory / "config" / "models.config"
    text = file.read_text().replace("/models/m", str(versions)).replace("stable", label)
    file.write_text(text)
    failures, stop = [], threading.Event()
    with Server(
        file,
        port=0,
        rest_api_port=0,
        model_config_file_poll_wait_seconds=0.05,
        file_system_poll_wait_seconds=0.05,
        enable_model_warmup=False,
    ) as server:

        def ask():
            with Client(f"127.0.0.1:{server.port}", "m", label=label, max_attempts=1) as client:
                while not stop.is_set():
                    try:
                        client.log_prob(images)
                    except Exception as error:
                        failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.rest_api_port}"
            assert deploy.promote(file, "m", 2, label=label, server=url, seconds=30) == "done"
            assert server.manager.models["m"].labels == {label: 2}
            stop.wait(0.3)  # while the old version is unloaded
        finally:
            stop.set()
            thread.join(30)
    assert failures == []


def test_a_version_that_does_not_load_does_not_get_the_label(directory, versions):
    (versions / "2" / "saved_model.pb").write_bytes(b"broken")
    file = directory / "config" / "models.config"
    file.write_text(file.read_text().replace("/models/m", str(versions)))
    options = {"model_config_file_poll_wait_seconds": 0.05, "enable_model_warmup": False}
    with Server(file, port=None, rest_api_port=0, **options) as s:
        url = f"http://127.0.0.1:{s.rest_api_port}"
        with pytest.raises(InputError, match=r"after 1 s: the version is .* label has not moved"):
            deploy.promote(file, "m", 2, server=url, seconds=1)
    assert served(file) == ([1, 2], {"stable": 1})


def test_the_commands(versions, tmp_path, capsys):
    out = tmp_path / "deployed"
    words = ["deploy", str(out), f"vae={versions}", "--label", "vae:stable=1", "vae:canary=2"]
    assert cli.main(words) == 0
    assert str(out) in capsys.readouterr().out
    assert served(out / "config" / "models.config") == ([1, 2], {"canary": 2, "stable": 1})
    words = ["promote", "vae", str(out), "2"]
    assert cli.main(words) == 0
    assert (
        "stable of vae is version 2; run the same command again to unload"
        in capsys.readouterr().out
    )
    assert cli.main(words) == 0
    assert capsys.readouterr().out == "stable of vae is version 2\n"
    assert served(out / "config" / "models.config") == ([2], {"canary": 2, "stable": 2})
    assert cli.main([*words[:-1], "1", "--label", "canary"]) == 0
    assert "once it is AVAILABLE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promote", "x", "{out}", "2"], "has no model 'x'; it has m"),
        (
            ["promote", "m", "{out}/nowhere", "2"],
            "neither a models.config nor a dir",
        ),
        (["promote", "m", "{out}", "0"], "version must be an integer from 1"),
        (
            ["promote", "m", "{out}", "2", "--label", "a/b"],
            "must not be empty or contain",
        ),
        (["promote", "m", "{out}", "two"], "argument VERSION: invalid int value: 'two'"),
        (["export", "m", "{out}", "--label", "x"], "there is no option --label"),
        (["promote", "m", "{out}", "2", "--server", "x:1"], "must be http://HOST:PORT"),
        (["promote", "m", "{out}/config/monitoring.config", "2"], "ModelServerConfig"),
        (["deploy", "{out}", "{m}"], "exists: choose another directory"),
        (["deploy", "{new}", "{new}"], "holds no version of"),
        (["deploy", "{new}", "A B={m}"], "must consist of lower-case letters, digits and hyphens"),
        (["deploy", "{new}", "a={m}", "a={m}"], "two models are named a"),
        (["deploy", "{new}", "a={m}", "--label", "a:stable"], "--label takes NAME:LABEL=N"),
        (["deploy", "{new}", "a={m}", "--label", "a:stable=9"], "has no version 9"),
        (["deploy", "{new}", "a={m}", "--label", "b:stable=1"], "labels for 'b'"),
    ],
)
def test_bad_input_is_one_line(directory, versions, words, message, tmp_path, capfd):
    names = {"out": directory, "m": versions, "new": tmp_path / "new"}
    assert cli.main([word.format(**names) for word in words]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if ": error: " in line]
    assert len(lines) == 1
    assert message in lines[0]
