"""Two workers on one machine train like one device; stopping one stops and saves both."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.training import recipe, run, strategy
from tfgen.training.tensorboard import read_history

SETTINGS = ["epochs=3", "batch_size=65", "hidden_units=[16]", "temporal_averaging=true"]
WORKER = """
import json, os, signal, sys
from tfgen.training import loop, recipe, run
from tfgen.training.signals import StoppedError

out, how, settings = sys.argv[1], sys.argv[2], sys.argv[3:]
take_steps, sent = loop.Loop.take_steps, []


def stopping(self, *arguments):
    result = take_steps(self, *arguments)
    if self.step >= 10 and not sent:
        sent.append(os.kill(os.getpid(), signal.SIGTERM))
    return result


if how == "run" and json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
    loop.Loop.take_steps = stopping
try:
    if how == "resume":
        print("returned", run.resume(out))
    else:
        print("returned", run.train(recipe.load("vae-digits", settings), out))
except StoppedError as stopped:
    print(stopped)
    sys.exit(stopped.exit_code)
"""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextlib.contextmanager
def workers(out, how, log):
    """Two processes, which end with the context."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    started = []
    try:
        for index in range(2):
            config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            surroundings = {"TF_CONFIG": json.dumps(config), "CUDA_VISIBLE_DEVICES": "-1"}
            with (
                (log / f"{how}-{index}.out").open("w") as said,
                (log / f"{how}-{index}.err").open("w") as errors,
            ):
                words = [sys.executable, "-c", WORKER, out, how, *SETTINGS]
                started.append(
                    subprocess.Popen(
                        words, env={**os.environ, **surroundings}, stdout=said, stderr=errors
                    )
                )
        yield started
    finally:
        for worker in started:
            worker.kill()
            worker.wait(60)


@pytest.mark.slow
def test_two_workers_train_as_one_device_does(tmp_path):
    single = run.train(recipe.load("vae-digits", SETTINGS), tmp_path / "single")
    out = tmp_path / "shared" / "run"
    with workers(out, "run", tmp_path) as first:
        assert [worker.wait(240) for worker in first] == [128 + signal.SIGTERM] * 2
    said = [(tmp_path / f"run-{index}.out").read_text() for index in range(2)]
    assert "33 on each of 2 devices of 2 workers" in said[0]
    assert "stopped at step" in said[0]
    assert len(said[1].splitlines()) == 1  # it has stopped, and says nothing else
    assert len(list((out / "checkpoints").glob("step-*.ckpt"))) == 1

    with workers(out, "resume", tmp_path) as second:
        assert [worker.wait(240) for worker in second] == [0, 0]
    assert (tmp_path / "resume-0.out").read_text().splitlines()[-1] == f"returned {out}"
    assert (tmp_path / "resume-1.out").read_text() == "returned None\n"
    card, expected = tfgen.zoo.card(out), tfgen.zoo.card(single)
    assert card["training"]["replicas"] == 2
    assert card["training"]["images_seen"] == expected["training"]["images_seen"] == 3 * 1293
    found = tfgen.zoo.load(out).get_weights()
    for ours, theirs in zip(found, tfgen.zoo.load(single).get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    for ours, theirs in zip(
        read_history(out / "logs" / "history.csv"),
        read_history(single / "logs" / "history.csv"),
        strict=True,
    ):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_what_training_on_several_workers_needs(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match="TF_CONFIG must list the workers"):
        strategy.choose("multi_worker")
    monkeypatch.setenv("TF_CONFIG", "{not json")
    with pytest.raises(InputError, match="TF_CONFIG does not describe a cluster"):
        strategy.choose("auto")
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["localhost:1"]}}))
    assert strategy.choose("auto", "cpu:1").num_replicas_in_sync == 1
    assert strategy.is_chief(strategy.choose("single"))
    assert strategy.worker_count(strategy.choose("mirrored", "cpu:2")) == 1
