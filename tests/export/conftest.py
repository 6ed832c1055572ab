"""One serving process, and one export of each model, for all tests of a session."""

import functools
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from export_cases import exported

import tfgen


@pytest.fixture(scope="module", autouse=True)
def _pretrained_models_are_loaded_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfgen.zoo, "load", functools.cache(tfgen.zoo.load))
        yield


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
    """The directory of a model's SavedModel, written once."""
    paths = {}

    def path(name):
        if name not in paths:
            directory = tmp_path_factory.mktemp(name)
            paths[name] = tfgen.export.saved_model(exported(name), directory)
        return paths[name]

    return path


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The TFLite file of a model at a precision, written once."""
    files = {}

    def file(name, precision="float32"):
        if (name, precision) not in files:
            path = tmp_path_factory.mktemp(name) / f"{precision}.tflite"
            files[name, precision] = tfgen.export.tflite(exported(name), path, precision)
        return files[name, precision]

    return file
