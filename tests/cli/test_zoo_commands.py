"""`tfgen zoo` and `tfgen fetch`."""

import json
import shutil

import tfgen
from tfgen import cli


def test_zoo_shows_what_save_preset_wrote(tmp_path, capsys):
    tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4]).save_preset(tmp_path / "mine")
    assert cli.main(["zoo", str(tmp_path / "mine")]) == 0
    assert '"name": "mine"' in capsys.readouterr().out


def test_zoo_shows_a_card(capsys):
    assert cli.main(["zoo", "vae-digits"]) == 0
    assert capsys.readouterr().out.startswith("# vae-digits")


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
    assert cli.main(["zoo", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {len(entry) for entry in entries.values()} == {len(entries["vae-digits"])}
    assert "is damaged: " in entries["cut"]["error"]
    assert entries["vae-digits"]["error"] is None
    assert cli.main(["zoo"]) == 0
    rows = capsys.readouterr().out
    for name in ("cut", "latin", "list", "null", "unit"):
        assert f"\n{name} " in rows
        assert f"{tmp_path / 'zoo' / name / 'card.json'} is damaged: " in rows
    assert " of [/data] [red] :boom: " in rows
    assert "\nvae-digits " in rows


def test_fetch_and_zoo_accept_models_without_metrics(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4])
    model.save_preset(tmp_path / "mine")
    assert cli.main(["fetch", str(tmp_path / "mine")]) == 0
    where = tmp_path / "home" / "fetched" / "mine@1"
    assert capsys.readouterr().out.endswith(f"Fetched mine@1 to {where}; its name is mine\n")
    assert cli.main(["zoo"]) == 0
    assert "mine " in capsys.readouterr().out


def test_fetch_prints_the_name_of_the_fetched_model(tmp_path, capsys, monkeypatch):
    """It is not the name alone if that means another model, in a place that is searched first."""
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


def test_zoo_gives_null_for_a_number_that_json_does_not_have(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path))
    card = tfgen.zoo.card("vae-digits")
    card["metrics"]["bits_per_dim"]["value"] = float("nan")
    (tmp_path / "zoo" / "odd").mkdir(parents=True)
    (tmp_path / "zoo" / "odd" / "card.json").write_text(json.dumps(card))
    assert cli.main(["zoo", "--json"]) == 0
    out = capsys.readouterr().out
    assert "NaN" not in out
    (entry,) = [entry for entry in json.loads(out) if entry["name"] == "odd"]
    assert entry["bits_per_dim"]["value"] is None
    assert entry["bits_per_dim"]["not_finite"] == {"value": "nan"}


def test_zoo_cuts_nothing_off_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert cli.main(["zoo"]) == 0
    words = capsys.readouterr().out.split()
    card = tfgen.zoo.card("glow-mnist-conditional")
    for word in ("glow-mnist-conditional", f"{card['parameters']:,}", *card["summary"].split()):
        assert word in words
