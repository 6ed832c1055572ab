"""Data sets are stored once, by one process, completely, and without output."""

import logging
import subprocess
import sys
import threading

import pytest

import tfgen
from tfgen.data.sources import shapes
from tfgen.data.storage import quiet
from tfgen.errors import InputError

SMALL = {"num_images": 50, "num_test_images": 5}
LOAD = f"import tfgen; print(tfgen.data.load('shapes', options={SMALL}).images('train').sum())"


def test_two_processes_at_once(fresh_home):
    runs = [
        subprocess.Popen([sys.executable, "-c", LOAD], stdout=-1, stderr=-1, text=True)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert len(list(fresh_home.glob("datasets/shapes-*/shapes/1.0.0"))) == 1


def test_nothing_is_printed(fresh_home, capfd, caplog):
    with caplog.at_level(logging.INFO):
        tfgen.data.load("shapes", options=SMALL).images("train")
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_interrupted_write_is_not_taken_for_complete(fresh_home, monkeypatch):
    draw = shapes.draw_factors

    def interrupted(seed, indices):
        if indices[0] > 2**31:
            raise KeyboardInterrupt
        return draw(seed, indices)

    monkeypatch.setattr(shapes, "draw_factors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tfgen.data.load("shapes", options=SMALL)
    assert not list(fresh_home.glob("datasets/**/dataset_info.json"))
    monkeypatch.undo()
    monkeypatch.setenv("TFGEN_HOME", str(fresh_home))
    assert tfgen.data.load("shapes", options=SMALL).images("test").shape == (5, 32, 32, 3)


@pytest.mark.parametrize("damage", ["cut", "remove", "killed"])
def test_damaged_data_sets_are_written_again(fresh_home, damage):
    before = tfgen.data.load("shapes", options=SMALL).images("train")
    (record,) = fresh_home.glob("datasets/shapes-*/shapes/1.0.0/*train*")
    if damage == "cut":
        record.write_bytes(record.read_bytes()[:-10])
    elif damage == "remove":
        record.unlink()
    else:
        record.parent.rename(record.parent.parent / "incomplete.ABCDEF_1.0.0")
    assert (tfgen.data.load("shapes", options=SMALL).images("train") == before).all()
    assert not list(fresh_home.glob("datasets/**/incomplete*"))


def test_flipped_bits_are_noticed(fresh_home):
    dataset = tfgen.data.load("shapes", options=SMALL)
    (record,) = fresh_home.glob("datasets/shapes-*/shapes/1.0.0/*train*")
    content = bytearray(record.read_bytes())
    content[5000] ^= 1
    record.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        dataset.images("train")


def test_a_cache_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="TFGEN_HOME"):
        tfgen.data.load("digits")


def test_output_returns_after_the_last_thread():
    stdout, entered, leave = sys.stdout, threading.Event(), threading.Event()

    def other():
        with quiet():
            entered.set()
            leave.wait(10)

    with quiet():
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(10)
    assert sys.stdout is not stdout
    leave.set()
    thread.join(60)
    assert sys.stdout is stdout
