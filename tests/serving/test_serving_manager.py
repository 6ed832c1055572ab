"""Versions, labels and configurations: what is served when, without any failed request."""

import shutil
import threading
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfgen.errors import InputError
from tfgen.export.serving import model_config, servable
from tfgen.export.serving.flags import Flags
from tfgen.export.serving.manager import AVAILABLE, END, START, Manager
from tfgen.export.serving.servable import Servable
from tfgen.export.serving.server import Server
from tfgen.export.serving.statuses import ServingError


@pytest.fixture
def place(base, tmp_path):
    """A base directory for the test, and a function that publishes a version in it."""

    def publish(version):
        shutil.copytree(base / "1", tmp_path / "m" / f"tmp-{version}")
        (tmp_path / "m" / f"tmp-{version}").rename(tmp_path / "m" / str(version))
        return tmp_path / "m"

    return publish


def config(path, *, policy="", labels=(), name="m"):
    found = model_config.of_models({name: str(path)})
    model = found.model_config_list.config[0]
    if policy == "all":
        model.model_version_policy.all.SetInParent()
    elif policy:
        model.model_version_policy.specific.versions.extend(policy)
    for label, number in labels:
        model.version_labels[label] = number
    return found


@pytest.fixture
def managing():
    managers = []

    def start(config, **flags):
        managers.append(Manager(config, Flags(**{"enable_model_warmup": False, **flags})))
        return managers[-1]

    yield start
    for manager in managers:
        manager.close()


def served(manager, **choice):
    return manager.find("m", **choice).version


def test_the_latest_version_replaces_the_older_one(place, managing):
    manager = managing(config(place(1)))
    assert served(manager) == 1
    place(2)
    (place(3) / "notes").mkdir()
    manager.poll()
    assert served(manager) == 3
    states = {v.number: v.state for v in manager.versions("m")}
    assert states == {3: AVAILABLE, 1: END}
    with pytest.raises(ServingError, match=r"NOT_FOUND: .*Specific\(m, 1\)"):
        served(manager, version=1)


def test_an_open_session_outlives_its_version(place, managing, images):
    manager = managing(config(place(1)))
    old = manager.find("m")
    session = weakref.ref(old._session)
    before = old.predict("encode", {"images": images})["latents"]
    place(2)
    manager.poll()
    assert served(manager) == 2
    np.testing.assert_array_equal(old.predict("encode", {"images": images})["latents"], before)
    del old
    assert session() is None


def test_loaded_versions_stay_while_their_base_directory_is_missing(place, managing, caplog):
    caplog.set_level("INFO", "tfgen")
    path = place(1)
    place(2)
    manager = managing(config(path, policy="all"))
    loaded = {number: manager.find("m", number) for number in (1, 2)}
    path.rename(path.with_name("away"))
    path.write_text("a file in its place")
    for _ in range(3):
        manager.poll()
        assert {number: manager.find("m", number) for number in (1, 2)} == loaded
    path.unlink()
    manager.poll()
    manager.reload(config(path, policy=[2]))
    assert manager.find("m") is loaded[2]
    assert list(manager.models["m"].available()) == [2]
    path.with_name("away").rename(path)
    manager.poll()
    manager.poll()
    assert manager.find("m") is loaded[2]
    messages = [r.getMessage() for r in caplog.records if "can" in r.getMessage()]
    assert messages == [
        f"The base path {path} of m cannot be read (Not a directory): its loaded versions stay",
        f"The base path {path} can be read again",
    ]


def test_versions_are_unloaded_when_they_are_removed_from_their_base_directory(place, managing):
    path = place(1)
    place(2)
    manager = managing(config(path, policy="all"))
    shutil.rmtree(path / "2")
    manager.poll()
    assert list(manager.models["m"].available()) == [1]
    shutil.rmtree(path / "1")
    manager.poll()
    with pytest.raises(ServingError, match=r"Latest\(m\)"):
        manager.find("m")


def test_version_policies(place, managing):
    place(1)
    place(2)
    manager = managing(config(place(3), policy=[1, 3]))
    assert [v.number for v in manager.versions("m")] == [3, 1]
    manager.reload(config(place(4), policy="all"))
    assert {v.number for v in manager.versions("m") if v.state == AVAILABLE} == {1, 2, 3, 4}


def test_labels_move_in_two_steps_only(place, managing):
    path = place(1)
    stable = config(path, policy=[1], labels=[("stable", 1)])
    manager = managing(stable)
    assert served(manager, label="stable") == 1
    place(2)
    with pytest.raises(ServingError, match="Request to assign label to version 2 of model m"):
        manager.reload(config(path, policy=[1], labels=[("stable", 2)]))
    assert served(manager, label="stable") == 1
    manager.reload(config(path, policy=[1, 2], labels=[("stable", 1), ("canary", 2)]))
    assert (served(manager, label="stable"), served(manager, label="canary")) == (1, 2)
    manager.reload(config(path, policy=[1, 2], labels=[("stable", 2)]))
    assert served(manager, label="stable") == 2
    with pytest.raises(ServingError, match="Unrecognized servable version label: canary"):
        served(manager, label="canary")


def test_a_version_that_does_not_load_leaves_the_old_one(place, managing):
    manager = managing(config(place(1)), load_retry_interval_micros=0)
    path = place(2)
    (path / "2" / "saved_model.pb").write_bytes(b"broken")
    manager.poll()
    assert served(manager) == 1
    broken = manager.versions("m", 2)[0]
    assert broken.state == END
    assert broken.error is not None
    with pytest.raises(ServingError, match="version 2 of m does not load"):
        manager.reload(config(path))
    manager.reload(config(path, policy=[1]))
    assert served(manager) == 1
    manager.reload(config(path, policy=[1]))
    shutil.copy(path / "1" / "saved_model.pb", path / "2")
    manager.reload(config(path))
    assert served(manager) == 2


def test_a_warm_up_that_fails_fails_the_load(place, managing):
    path = place(1)
    file = path / "1" / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(b"this holds no records at all")
    with pytest.raises(ServingError, match="verify your warmup data is in TFRecord format"):
        managing(config(path), enable_model_warmup=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"not a log")
    with pytest.raises(ServingError, match=r"INVALID_ARGUMENT.*parse warmup record: b'not a log'"):
        managing(config(path), enable_model_warmup=True)
    file.unlink()
    file.mkdir()
    with pytest.raises(ServingError, match="version 1 of m does not load"):
        managing(config(path), enable_model_warmup=True)
    file.rmdir()
    request = prediction_log_pb2.PredictLog()
    request.request.model_spec.signature_name = "nope"
    with tf.io.TFRecordWriter(str(file)) as writer:
        log = prediction_log_pb2.PredictionLog(predict_log=request)
        writer.write(log.SerializeToString())
    with pytest.raises(ServingError, match='Serving signature key "nope" not found'):
        managing(config(path), enable_model_warmup=True)
    managing(config(path))


def test_models_that_a_new_configuration_omits_are_unloaded(place, managing):
    path = place(1)
    manager = managing(config(path))
    manager.reload(config(path, name="other"))
    assert list(manager.models) == ["other"]
    with pytest.raises(ServingError, match=r"Latest\(m\)"):
        served(manager)


def test_polling_continues_after_a_version_that_does_not_load(place, monkeypatch):
    """A warm-up record that is not a PredictionLog, then an unexpected error."""
    options = {"file_system_poll_wait_seconds": 0.02, "load_retry_interval_micros": 0}
    server = Server({"m": place(1)}, port=None, rest_api_port=None, **options)
    manager = server.manager

    def publish(version):
        folder = place(f"tmp{version}") / f"tmp{version}"
        with tf.io.TFRecordWriter(str(folder / servable.WARMUP)) as writer:
            writer.write(b"not a log")
        folder.rename(folder.with_name(str(version)))

    def failed(version, code):
        known = manager.versions("m")[0]
        return (known.number, known.state, known.retries) == (version, END, 5) and (
            known.error.code == code
        )

    publish(2)
    wait_for(lambda: failed(2, "INVALID_ARGUMENT"))
    assert served(manager) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Servable, "_warm_up", lambda self, file: 1 // 0)
        publish(3)
        wait_for(lambda: failed(3, "INTERNAL"))
    assert served(manager) == 1
    place(4)
    wait_for(lambda: served(manager) == 4)
    server.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense {", "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1"),
        ("", "only model_config_list"),
        ("model_config_list { config { name: 'a' base_path: 'b' } }", "absolute path"),
        (
            "model_config_list { config { name: 'a' base_path: '/b' model_platform: 'torch' } }",
            "the only supported platform is 'tensorflow'",
        ),
        (
            "model_config_list { "
            + "config { name: 'a' base_path: '/b' model_platform: 'tensorflow' }" * 2
            + "}",
            "multiple times",
        ),
    ],
)
def test_configurations_that_are_refused(tmp_path, text, message):
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(InputError, match=message):
        model_config.read(tmp_path / "models.config")


def test_swaps_and_new_configurations_fail_no_request(place, images):
    """Four threads send requests while versions are loaded and unloaded; all answers are right."""
    path = place(1)
    file = path.parent / "models.config"
    file.write_text(str(config(path)))
    failures, answered, versions, stop = [], [0], set(), threading.Event()
    with Server(
        file,
        port=None,
        rest_api_port=None,
        file_system_poll_wait_seconds=0.05,
        model_config_file_poll_wait_seconds=0.05,
        enable_model_warmup=False,
    ) as server:
        right = server.manager.find("m").predict("log_prob", {"images": images})["log_prob"]

        def ask():
            while not stop.is_set():
                try:
                    servable = server.manager.find("m")
                    versions.add(servable.version)
                    found = servable.predict("log_prob", {"images": images})["log_prob"]
                    np.testing.assert_allclose(found, right, rtol=1e-5)
                    answered[0] += 1
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in (2, 3):
            place(version)
            wait_for(lambda version=version: served(server.manager) == version)
        file.write_text(str(config(path, policy=[2])))
        wait_for(lambda: served(server.manager) == 2)
        stop.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert versions == {1, 2, 3}
    assert answered[0] > 100


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_pending_models_have_the_state_start_until_they_are_loaded(place, tmp_path):
    config = model_config.of_models({"m": place(3), "later": tmp_path / "later"})
    manager = Manager(config, Flags(enable_model_warmup=False), pending=True)
    for _ in range(2):
        states = [(v.number, v.state) for name in ("m", "later") for v in manager.versions(name)]
        assert states == [(3, START), (1, START)]
        with pytest.raises(ServingError, match=r"NOT_FOUND: .*Latest\(later\)"):
            manager.find("later")
        manager.poll()  # leaves pending models alone
    manager.load("m")
    assert served(manager) == 3
    shutil.copytree(tmp_path / "m" / "3", tmp_path / "later" / "2")
    manager.load("later")
    assert [(v.number, v.state) for v in manager.versions("later")] == [(2, AVAILABLE)]
    manager.close()


def test_a_pending_model_that_fails_says_why(tmp_path):
    config = model_config.of_models({"m": tmp_path})
    manager = Manager(config, pending=True)
    manager.fail("m", ServingError("INTERNAL", "no space"))
    (version,) = manager.versions("m")
    assert (version.state, version.error.message) == (END, "no space")
