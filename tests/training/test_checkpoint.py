"""Checkpoints are complete or absent, also after a kill, a full disk or a damaged file."""

import json
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from tfgen.training import checkpoint
from tfgen.training.checkpoint import Checkpoints, DamagedError, State

KILLED_WRITERS = """
import json, os, random, signal, sys, time
import numpy as np
from tfgen.training.checkpoint import Checkpoints, State

folder = sys.argv[1]


def write_for_ever(out):
    checkpoints = Checkpoints(folder, keep=2)
    state, _ = checkpoints.latest()
    step = state.facts["step"] if state else 0
    while True:
        os.write(out, b"%d " % step)
        step += 1
        arrays = {"weights": np.full(2**18, step, "float32"), "slots": np.arange(2**17) + step}
        checkpoints.save_best(State({"weights": arrays["weights"]}, {"step": step}))
        checkpoints.save(step, State(arrays, {"step": step}))


assert "tensorflow" not in sys.modules
chosen = random.Random(0)
for _ in range(40):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        write_for_ever(writer)
    os.close(writer)
    said = os.read(reader, 100)  # it has read what was there
    time.sleep(chosen.uniform(0, 0.08))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while more := os.read(reader, 1000):
        said += more
    os.close(reader)
    state, damaged = Checkpoints(folder, keep=2).latest()
    best = Checkpoints(folder).best().facts["step"] if state else 0
    print(json.dumps({
        "killed": os.WTERMSIG(status) == signal.SIGKILL,
        "damaged": [str(path) for path, _ in damaged],
        "reported": int(said.split()[-1]),
        "step": state.facts["step"] if state else 0,
        "same": state is None or bool((state.arrays["weights"] == state.facts["step"]).all()),
        "best": best,
        "unfinished": len([name for name in os.listdir(folder) if name.startswith(".")]),
    }))
"""


def state_of(step):
    return State({"a": np.arange(step), "b": np.float32(step)}, {"step": step, "list": [0.1, None]})


def test_a_state_comes_back_as_it_was(tmp_path):
    arrays = {
        "weight 0": np.random.default_rng(0).normal(size=(3, 4)).astype("float32"),
        "a bool": np.array(True),
        "an int": np.array(2**62, "int64"),
        "empty": np.zeros((0, 3), "float64"),
    }
    facts = {"step": 3, "nats": 0.1 + 0.2, "nan": None, "text": "Ω"}
    Checkpoints(tmp_path).save(3, State(arrays, facts))
    found, damaged = Checkpoints(tmp_path).latest()
    assert damaged == []
    assert found.facts == facts
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new", keep=3)
    assert checkpoints.latest() == (None, [])
    for step in (5, 10, 999_999, 1_000_000, 20_000_000):
        checkpoints.save(step, state_of(step % 7))
        checkpoints.save_best(state_of(step % 5))
    assert [int(path.stem[5:]) for path in checkpoints.paths()] == [20_000_000, 1_000_000, 999_999]
    assert len(list((tmp_path / "new").iterdir())) == 4
    assert checkpoints.best().facts["step"] == 0


def test_a_killed_writer_never_leaves_a_damaged_checkpoint(tmp_path):
    """SIGKILL at 40 random moments, most of them in the middle of writing."""
    words = [sys.executable, "-c", KILLED_WRITERS, tmp_path]
    result = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    lines = result.stdout.splitlines()
    kills = [json.loads(line) for line in lines]
    assert len(kills) == 40
    for kill in kills:
        assert kill["killed"]
        assert kill["same"]
        assert kill["damaged"] == []
        assert kill["step"] in (kill["reported"], kill["reported"] + 1)
        assert kill["best"] >= kill["step"]
    steps = [kill["step"] for kill in kills]
    assert steps == sorted(steps)
    assert steps[-1] > 5
    assert sum(kill["unfinished"] for kill in kills) > 3  # so the kills did meet the writing
    Checkpoints(tmp_path, keep=2).save(steps[-1] + 10, state_of(1))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("what", ["flipped bit", "cut short", "empty", "text", "unreadable"])
def test_a_damaged_checkpoint_is_skipped_and_named(what, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, state_of(step))
    newest = checkpoints.paths()[0]
    content = newest.read_bytes()
    if what == "flipped bit":
        middle = len(content) // 2
        content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    damaged_content = {
        "cut short": content[:-1],
        "empty": b"",
        "text": b"hello" * 100,
    }.get(what, content)
    newest.write_bytes(damaged_content)
    if what == "unreadable":
        newest.unlink()
        newest.mkdir()
    state, damaged = checkpoints.latest()
    assert state.facts["step"] == 1
    assert [path for path, _ in damaged] == [newest]
    assert damaged[0][1]


def test_every_single_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "x.ckpt"
    checkpoint.write(path, state_of(3))
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :]
        )
        with pytest.raises(DamagedError):
            checkpoint.read(path)


def test_a_failed_write_leaves_the_earlier_checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_of(1))
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            checkpoints.save(2, State({"a": np.zeros(10**6)}, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(tmp_path.iterdir()) == before
    assert checkpoints.latest()[0].facts["step"] == 1


def test_files_that_are_not_checkpoints_are_left_alone(tmp_path):
    (tmp_path / "step-last.ckpt").write_text("mine")
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state_of(1))
    checkpoints.save(2, state_of(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000000002.ckpt",
        "step-last.ckpt",
    ]


def test_a_checkpoint_of_another_version_is_named(tmp_path):
    path = tmp_path / "step-000000000001.ckpt"
    checkpoint.write(path, state_of(1))
    path.write_bytes(path.read_bytes().replace(b"tfgen checkpoint 2", b"tfgen checkpoint 1"))
    with pytest.raises(DamagedError, match="another version of tfgen wrote it"):
        checkpoint.read(path)
