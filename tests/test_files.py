"""`tfgen.files`: paths, atomic writes, JSON, digests."""

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from tfgen import files
from tfgen.errors import InputError


def test_home_is_the_variable_or_the_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "named"))
    assert files.home() == tmp_path / "named"
    monkeypatch.setenv("TFGEN_HOME", "~/below")
    assert files.home() == tmp_path / "below"
    for unset in ("", None):
        monkeypatch.delenv("TFGEN_HOME")
        if unset is not None:
            monkeypatch.setenv("TFGEN_HOME", unset)
        assert files.home() == tmp_path / ".cache" / "tfgen"


def test_home_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFGEN_HOME", "relative")
    assert files.home() == tmp_path / "relative"


def test_without_a_home_directory_the_error_names_the_variable(monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", "~nobody-here/cache")
    with pytest.raises(InputError, match="set the environment variable TFGEN_HOME"):
        files.home()


def test_home_directories_in_paths_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/a") == tmp_path / "a"
    assert files.expanded(Path("a/~")) == Path("a/~")
    with pytest.raises(InputError, match="~nobody-here/a: there is no home directory"):
        files.expanded("~nobody-here/a")


def test_the_old_content_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file.csv"
    path.write_text("old")

    def write(temporary):
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".csv")
        temporary.write_text("new")
        assert path.read_text() == "old"

    files.write_atomically(path, write)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_no_trace(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half")
        raise error

    with pytest.raises(error):
        files.write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_bytes_and_json(tmp_path):
    files.write_text(tmp_path / "a.txt", "naïve\n")
    assert (tmp_path / "a.txt").read_bytes() == "naïve\n".encode()
    files.write_bytes(str(tmp_path / "a.bin"), b"\0\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\0\xff"
    value = {"name": "naïve", "shape": [1, 2.5, None, True]}
    files.write_json(tmp_path / "a.json", value)
    assert (tmp_path / "a.json").read_text() == files.to_json(value)
    assert files.to_json({"a": 1}) == '{\n  "a": 1\n}\n'
    assert files.read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "a.json cannot be read: No such file"),
        (b"", "a.json is damaged"),
        (b'{"a": 1', "a.json is damaged"),
        (b'{"a": "\xff"}', "a.json is damaged"),
        (b'{"a": 1, "b": 2, "a": 3}', "a.json is damaged: it has the key 'a' twice"),
        (b"[" * 200 + b"]" * 200, "a.json is damaged: it is nested deeper than 100 levels"),
        (b'{"a":' * 100_000, "a.json is damaged: it is nested deeper than 100 levels"),
        (b"1" * 101, "a.json is damaged: it has an integer of 101 digits"),
        (b"1" * 5000, "a.json is damaged: it has an integer of 5,000 digits"),
        (b" " * (2**22 + 1), "a.json is damaged: it has more than 4,194,304 bytes"),
    ],
)
def test_json_that_cannot_be_read(tmp_path, content, expected):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=expected) as caught:
        files.read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_json_at_the_limits_is_read(tmp_path):
    text = "[" * 99 + "9" * 100 + "]" * 99
    (tmp_path / "a.json").write_text(text.ljust(2**22))
    assert files.read_json(tmp_path / "a.json") == json.loads(text)


def test_only_regular_files_are_read(tmp_path):
    """Reading a FIFO would wait, and reading a device might never end."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("fifo", "device"):
        for read in (files.read_json, files.sha256):
            with pytest.raises((InputError, OSError), match="not a regular file"):
                read(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "a.json")
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert files.read_json(tmp_path / "link") == {"a": 1}


def test_a_directory_is_not_json(tmp_path):
    with pytest.raises(InputError, match="cannot be read: not a regular file"):
        files.read_json(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_sha256(tmp_path, size):
    content = b"x" * size
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_directories_are_complete_or_absent(tmp_path):
    def write(folder):
        (folder / "x").write_text("x")

    parent = tmp_path / "parent"
    names = iter(["1", "1", "2"])
    for number in ("1", "2"):  # the second time, the first name is taken
        path = files.write_directory_atomically(parent, lambda: next(names), write)
        assert path == parent / number
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    with pytest.raises(InputError, match="1 exists: choose another name"):
        files.write_directory_atomically(parent, "1", write)

    def overtaken(folder):
        files.write_directory_atomically(parent, "3", write)
        write(folder)

    with pytest.raises(InputError, match="3 exists: choose another name"):
        files.write_directory_atomically(parent, "3", overtaken)
    with pytest.raises(ZeroDivisionError):
        files.write_directory_atomically(parent, "4", lambda folder: 1 / 0)
    assert sorted(p.name for p in parent.iterdir()) == ["1", "2", "3"]
