"""Writers on a disk that fills up, fails to flush or cannot rename: old content, or none."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfgen
from tfgen import export, files
from tfgen.cli import likelihoods
from tfgen.data import storage
from tfgen.errors import InputError
from tfgen.evaluation.folder_scores import FolderScores
from tfgen.export import deploy, to_saved_model, to_tflite
from tfgen.export.serving import export_cache
from tfgen.training import tensorboard
from tfgen.training.checkpoint import Checkpoints, State

LIMIT = 40  # bytes of a file on the full disk


@contextlib.contextmanager
def full_disk():
    """No process of the system, TensorFlow's included, can write more than a few bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@contextlib.contextmanager
def failing(*names):
    """The functions of the system with these names fail."""

    def fail(*arguments, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, fail)
        yield


FAULTS = {
    "full": (full_disk, (os.strerror(errno.EFBIG), os.strerror(errno.ENOSPC))),
    "flush": (lambda: failing("fsync"), (os.strerror(errno.EIO),)),
    "rename": (lambda: failing("replace", "rename"), (os.strerror(errno.EIO),)),
}


@pytest.fixture(scope="module")
def model():
    return tfgen.models.VAE((4, 4, 1), latent_dim=2, hidden_units=[4])


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    with small_saved_models():
        return export.saved_model(model, tmp_path_factory.mktemp("exported") / "vae").parent


def state():
    return State({"weights": np.arange(100)}, {"step": 1})


def write_checkpoint(place, model, exported):
    checkpoints = Checkpoints(place, keep=2)
    step = len(checkpoints.paths()) + 1
    checkpoints.save(step, state())
    return f"step-{step:012}.ckpt"


def write_best(place, model, exported):
    Checkpoints(place).save_best(state())
    return "best.ckpt"


def write_preset(place, model, exported):
    model.save_preset(place / f"model{len(list(place.iterdir()))}")
    return "config.json"


def write_saved_model(place, model, exported):
    export.saved_model(model, place / "served")
    return "served"


def write_tflite(place, model, exported):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_tflite, "_converted", lambda source, precision: (bytes(100), {}))
        export.tflite(model, place / "vae.tflite")
    return "vae.tflite"


def write_scores(place, model, exported):
    rows = [("a.png", -1.0, 2.0)] * 10
    likelihoods._write(place / "scores.csv", FolderScores(rows, [], [], "exact"))
    return "scores.csv"


def write_history(place, model, exported):
    tensorboard.write_history(place / "history.csv", [{"step": 1, "epoch": 1.0}] * 9)
    return "history.csv"


def write_deployment(place, model, exported):
    deploy.write(place / f"new{len(list(place.iterdir()))}" / "deploy", {"vae": exported})
    return "deploy"


def write_promotion(place, model, exported):
    if not (place / "models.config").exists():
        config = deploy.write(place / "d", {"vae": exported}, labels={"vae": {"stable": 1}})
        (config / "config" / "models.config").rename(place / "models.config")
    deploy.promote(place / "models.config", "vae", 1, label="canary")
    return "models.config"


def write_data(place, model, exported):
    def content():
        images = np.zeros([20, 4, 4, 1], np.uint8)
        return storage.Content((4, 4, 1), {}, {"train": ((image, {}) for image in images)}, {})

    number = len(list(place.glob("datasets/*.lock")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFGEN_HOME", str(place))
        storage.stored("some", number, content, options={})
    return "datasets"


def write_export(place, model, exported):
    if not (place / "model").exists():
        model.save_preset(place / "model")
    entry = place / f"entry{len(list(place.glob('entry*')))}"
    export_cache.build(str(place / "model"), entry)
    return entry.name


WRITERS = {
    "checkpoint": write_checkpoint,
    "best weights": write_best,
    "preset": write_preset,
    "SavedModel": write_saved_model,
    "TFLite file": write_tflite,
    "scores": write_scores,
    "history": write_history,
    "deployment": write_deployment,
    "promotion": write_promotion,
    "data set": write_data,
    "export of a server": write_export,
}
# Locks stay, by design; TFDS renames and flushes with TensorFlow's functions, not Python's.
LOCKS = (".lock", "building")
INAPPLICABLE = {
    ("data set", "flush"),
    ("data set", "rename"),
    ("SavedModel", "flush"),
    ("deployment", "flush"),
}


@contextlib.contextmanager
def small_saved_models():
    """SavedModels are a small file, because TensorFlow takes seconds to write one."""

    def write(source, directory):
        (directory / "saved_model.pb").write_bytes(bytes(100))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_saved_model, "_write", write)
        yield


def content(place):
    paths = (p for p in place.rglob("*") if not p.name.endswith(LOCKS))
    return {str(p.relative_to(place)): p.is_file() and p.read_bytes() for p in paths}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_leaves_the_old_content_and_names_the_file(
    name, fault, model, exported, tmp_path
):
    if (name, fault) in INAPPLICABLE:
        return
    write = WRITERS[name]
    with small_saved_models():
        write(tmp_path, model, exported)
    before = content(tmp_path)
    context, reasons = FAULTS[fault]
    is_real = (name, fault) == ("SavedModel", "full")
    saved_models = contextlib.nullcontext if is_real else small_saved_models
    with saved_models(), context(), pytest.raises((OSError, InputError)) as error:
        write(tmp_path, model, exported)
    after = content(tmp_path)
    # An export of a server without its list of files does not count, and is removed at the start.
    unfinished = {key for key in after if key.split("/")[0] == "entry1"}
    assert {key: after[key] for key in after.keys() - unfinished} == before
    assert "entry1/files.json" not in unfinished
    text = str(error.value)
    assert any(reason in text for reason in reasons), text
    assert "tmp-tfgen" not in text
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".", "tmp-"))]
    with small_saved_models():
        written = write(tmp_path, model, exported)
    assert any(part in text for part in (written, "entry1")), text


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    code = (
        "import os, sys, time; from tfgen import files\n"
        "def write(folder): (folder / 'a').write_text('x'); print(folder.name, flush=True)\n"
        "files.write_directory_atomically(sys.argv[1], 'x', lambda f: (write(f), time.sleep(60)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    killed, running = (process.stdout.readline().strip() for process in processes)
    processes[0].kill()
    processes[0].wait()
    for name in ("tmp-mine", "tmp-tfgen", "tmp-tfgen-of-mine"):
        (tmp_path / name).mkdir()
    assert (tmp_path / killed).is_dir()
    files.write_directory_atomically(tmp_path, "new", lambda folder: None)
    found = {path.name for path in tmp_path.iterdir()}
    processes[1].kill()
    processes[1].wait()
    processes[0].stdout.close()
    processes[1].stdout.close()
    assert found == {running, "new", "tmp-mine", "tmp-tfgen", "tmp-tfgen-of-mine"}


def test_parents_of_a_directory_that_failed_are_removed(tmp_path):
    def fail(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "a"))

    with pytest.raises(OSError, match="new/deep/x") as error:
        files.write_directory_atomically(tmp_path / "new" / "deep", "x", fail)
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_the_existing_tflite_file_stays_unless_asked(tmp_path, model):
    path = Path(tmp_path / "vae.tflite")
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"exists: .*--overwrite"):
        export.tflite(model, path, overwrite=False)
    assert path.read_bytes() == b"mine"
