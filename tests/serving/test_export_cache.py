"""Exports are kept, found again, rebuilt and removed; running processes keep theirs."""

import os
import shutil
import threading

import pytest

import tfgen
from tfgen.export.serving import export_cache
from tfgen.export.serving.export_cache import FILES, ExportCache


@pytest.fixture
def exports(base, monkeypatch):
    """Counts the exports, which are copies of one."""
    made = []

    def saved_model(model, entry):
        number = 1 + sum(path.name.isdecimal() for path in entry.iterdir())
        shutil.copytree(base / "1", entry / str(number))
        made.append(model)

    monkeypatch.setattr(tfgen.export, "saved_model", saved_model)
    return made


@pytest.fixture
def model(tmp_path):
    """A copy of a pretrained model."""
    return shutil.copytree(tfgen.zoo.directory("vae-digits"), tmp_path / "model")


def test_an_export_is_found_again_until_the_model_changes(exports, model, tmp_path):
    for _ in range(2):
        cache = ExportCache(tmp_path / "exports")
        entry = cache.use(model)
        export_cache.build(model, entry)
        assert export_cache.is_complete(entry)
        assert (entry / "1" / "saved_model.pb").is_file()
        cache.close()
    assert len(exports) == 1
    with (model / "model.weights.h5").open("ab") as file:
        file.write(b"x")
    assert ExportCache(tmp_path / "exports").use(model) != entry


@pytest.mark.parametrize("name", ["1/saved_model.pb", "1/assets.extra/card.json", FILES])
def test_a_damaged_export_is_replaced(exports, model, tmp_path, name):
    entry = ExportCache(tmp_path).use(model)
    export_cache.build(model, entry)
    with (entry / name).open("r+b") as file:
        file.seek(10)
        file.write(b"\0")
    assert not export_cache.is_complete(entry)
    export_cache.build(model, entry)
    assert export_cache.is_complete(entry)
    # A server that uses the export finds a newer version before the damaged one disappears.
    assert sorted(p.name for p in entry.iterdir() if p.is_dir()) == ["2"]


def test_of_two_builders_one_waits_for_the_other(exports, model, tmp_path):
    entry = ExportCache(tmp_path).use(model)
    builders = [threading.Thread(target=export_cache.build, args=(model, entry)) for _ in "12"]
    for thread in builders:
        thread.start()
    for thread in builders:
        thread.join()
    assert len(exports) == 1
    assert export_cache.is_complete(entry)


def test_the_oldest_exports_above_the_limit_and_unfinished_ones_are_removed(
    exports, model, tmp_path
):
    cache, entries = ExportCache(tmp_path / "exports"), []
    for i in range(4):
        with (model / "config.json").open("a") as file:
            file.write(" ")
        entries.append(cache.use(model))
        export_cache.build(model, entries[-1])
        os.utime(entries[-1] / export_cache.IN_USE, (i, i))
    (entries[3] / FILES).unlink()  # as if its export had been killed
    other = ExportCache(tmp_path / "exports")
    other.sweep(max_bytes=0)
    assert all(entry.is_dir() for entry in entries), "exports in use must stay"
    cache._in_use.pop(entries[0]).close()
    cache._in_use.pop(entries[1]).close()
    size = sum(p.stat().st_size for p in entries[0].rglob("*") if p.is_file())
    other.sweep(max_bytes=int(3.5 * size))
    assert [entry.is_dir() for entry in entries] == [False, True, True, True]
    cache.close()
    assert [entry.is_dir() for entry in entries] == [False, True, True, False]


def test_an_unusable_home_gives_a_temporary_directory(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    left = tmp_path / "tmp" / "tfgen-serve-killed"
    left.mkdir()
    (left / export_cache.IN_USE).touch()
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "file"))
    with export_cache.opened() as (cache, temporary), export_cache.opened() as (_, other):
        assert cache.directory.parent == temporary
        assert temporary.is_dir(), "another server must not remove it"
        assert temporary != other
        assert not left.exists()
    assert "Exports are not kept for the next start" in caplog.text
    assert list((tmp_path / "tmp").iterdir()) == []
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    with export_cache.opened() as (cache, _):
        assert cache.directory == tmp_path / "home" / "exports"
