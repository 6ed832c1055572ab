"""One serving process and one SavedModel of each model for all tests of a session."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from export_cases import model

import tfgen


@pytest.fixture(scope="session")
def serve():
    """Answers lists of requests (path, signature, inputs) as TF Serving would, concurrently."""
    script = Path(__file__).with_name("tf_serving_process.py")
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def answers(requests):
        pickle.dump([(str(path), name, inputs) for path, name, inputs in requests], process.stdin)
        process.stdin.flush()
        return pickle.load(process.stdout)

    yield answers
    process.stdin.close()
    assert process.wait(timeout=60) == 0


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The folder of a model's SavedModel."""
    paths = {}

    def path(name):
        if name not in paths:
            given = name if name in tfgen.zoo.list() else model(name)
            paths[name] = tfgen.export.saved_model(given, tmp_path_factory.mktemp(name))
        return paths[name]

    return path
