"""Which directory a name means: the order of the places, and versions."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.files import sha256, write_json
from tfgen.models import preset
from tfgen.zoo import places


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(directory, version=None):
    """A copy of a pretrained model, with a version in its card."""
    shutil.copytree(tfgen.zoo.places.PACKAGED / "vae-digits", directory)
    card = json.loads((directory / preset.CARD).read_text("utf-8"))
    if version:
        card["version"] = version
    write_json(directory / preset.CARD, card)
    return directory


def test_the_order_of_places_is_path_own_packaged_fetched(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fetched = put(home / "fetched" / "mine@1")
    assert tfgen.zoo.directory("mine") == fetched
    own = put(home / "zoo" / "mine")
    assert tfgen.zoo.directory("mine") == own
    here = put(tmp_path / "mine")
    assert tfgen.zoo.directory("mine").resolve() == here
    shutil.rmtree(here)
    assert tfgen.zoo.directory("vae-digits") == places.PACKAGED / "vae-digits"
    other = put(home / "zoo" / "vae-digits")
    assert tfgen.zoo.directory("vae-digits") == other
    assert tfgen.zoo.list() == sorted({*tfgen.zoo.list(), "mine"})


def test_old_versions_stay_loadable_beside_the_newest(home):
    old = put(home / "zoo" / "mine@1")
    new = put(home / "zoo" / "mine", version=2)
    fetched = put(home / "fetched" / "mine@4", version=4)
    assert tfgen.zoo.directory("mine@1") == old
    assert tfgen.zoo.directory("mine@2") == tfgen.zoo.directory("mine") == new
    assert tfgen.zoo.directory("mine@4") == fetched
    assert tfgen.zoo.versions("mine") == ["mine@1", "mine@2", "mine@4"]
    assert tfgen.zoo.card("mine@2")["version"] == 2
    assert tfgen.zoo.load("mine@1").latent_dim == 8
    with pytest.raises(InputError, match=r"no version 3 of 'mine'.*mine@1, mine@2, mine@4"):
        tfgen.zoo.load("mine@3")
    with pytest.raises(InputError, match="no model 'mine@0'"):
        tfgen.zoo.load("mine@0")


def test_folders_without_a_model_are_skipped(home):
    (home / "zoo" / "empty").mkdir(parents=True)
    put(home / "zoo" / "not a name")
    broken = put(home / "zoo" / "broken")
    (broken / preset.CARD).write_text("{", "utf-8")
    assert "empty" not in tfgen.zoo.list()
    assert "not a name" not in tfgen.zoo.list()
    with pytest.raises(InputError, match=r"card.json is damaged"):
        tfgen.zoo.load("broken")


def test_the_build_tool_keeps_the_old_version_when_asked(tmp_path, monkeypatch, capsys):
    tool = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "build_zoo.py"))
    place = tmp_path / "zoo"
    place.mkdir()
    ready = put(tmp_path / "ready")
    monkeypatch.setitem(tool["put"].__globals__, "ZOO", place)
    monkeypatch.setattr(places, "PACKAGED", place)
    tool["put"](ready, "mine", False)
    tool["put"](ready, "mine", False)
    assert [path.name for path in place.iterdir()] == ["mine"]
    assert tfgen.zoo.versions("mine") == ["mine@1"]
    tool["put"](ready, "mine", True)
    tool["put"](ready, "mine", False)
    assert sorted(path.name for path in place.iterdir()) == ["mine", "mine@1"]
    assert tfgen.zoo.versions("mine") == ["mine@1", "mine@2"]
    assert tfgen.zoo.directory("mine@2").name == "mine"
    assert tfgen.zoo.load("mine@1").latent_dim == 8
    assert "mine@2: 0." in capsys.readouterr().out


def test_the_build_tool_adds_what_the_tests_compare_with(tmp_path):
    tool = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "build_zoo.py"))
    directory = put(tmp_path / "mine")
    before = tfgen.zoo.card(directory)
    (directory / "golden.png").unlink()
    del before["check"], before["files"]["golden.png"]
    write_json(directory / preset.CARD, before)
    tool["finish"](directory, before, wanted=[])
    after, packaged = tfgen.zoo.card(directory), tfgen.zoo.card("vae-digits")
    assert after["check"] == pytest.approx(packaged["check"], rel=1e-5)
    assert after["metrics"] == packaged["metrics"]
    assert after["files"].keys() == packaged["files"].keys()
    stale = {name: {**metric, "value": 0.0} for name, metric in after["metrics"].items()}
    tool["remeasure"](directory, {**after, "metrics": stale})
    after = tfgen.zoo.card(directory)
    for name, metric in after["metrics"].items():
        assert metric["protocol"] == packaged["metrics"][name]["protocol"]
        assert metric["value"] == pytest.approx(packaged["metrics"][name]["value"], rel=1e-4)
    for file, digest in after["files"].items():
        assert sha256(directory / file) == digest
