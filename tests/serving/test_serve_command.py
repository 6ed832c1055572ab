"""`tfgen serve` as a process: its output, its answers, and how it exits."""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import requests
import tensorflow as tf

from tfgen import cli
from tfgen.export import Client
from tfgen.export.deploy import configs
from tfgen.export.serving import command, exporter


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


@pytest.mark.slow
def test_it_serves_and_exits_after_its_last_answer(base, images, truth, tmp_path):
    rpc, rest = free_ports(2)
    words = ["tfgen", "serve", base, _compiled(tmp_path / "xla")]
    words += ["--port", rpc, "--rest_api_port", rest]
    words += ["--grpc_socket_path", tmp_path / "socket", "--enable_batching=true"]
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        lines = [process.stdout.readline() for _ in range(5)]
        assert lines == [
            command.PRODUCTION + "\n",
            f"REST  http://127.0.0.1:{rest}/v1/models/vae-digits\n",
            f"REST  http://127.0.0.1:{rest}/v1/models/xla\n",
            f"gRPC  127.0.0.1:{rpc}\n",
            f"gRPC  unix:{tmp_path / 'socket'}\n",
        ]
        assert process.stdout.readline().startswith("vae-digits: ready after ")
        assert process.stdout.readline().startswith("xla: ready after ")
        expected = truth["log_prob"](images=images)["log_prob"].numpy()
        for address in (
            f"http://127.0.0.1:{rest}",
            f"127.0.0.1:{rpc}",
            f"unix:{tmp_path / 'socket'}",
        ):
            with Client(address, "vae-digits") as client:
                np.testing.assert_allclose(client.log_prob(images), expected, rtol=1e-5)
        url = f"http://127.0.0.1:{rest}/v1/models/xla:predict"
        answer = requests.post(url, json={"instances": [1.0]}, timeout=30)
        assert answer.status_code == 500
        assert answer.json()["error"].startswith("XLA compilation disabled")
        others = [a for a in _addresses() if a != "127.0.0.1"]
        for address in others:
            with pytest.raises(requests.ConnectionError):
                requests.get(f"http://{address}:{rest}/v1/models/vae-digits", timeout=5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stdout.read() == "SIGTERM: stopping\nStopped\n"
    finally:
        process.kill()
        process.communicate()
    log.seek(0)
    assert "Traceback" not in log.read()


def _compiled(path):
    """The base directory of a model that TF Serving loads but does not run."""

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def double(x):
        return {"y": 2.0 * x}

    module = tf.Module()
    module.double = double
    tf.saved_model.save(module, str(path / "1"), signatures={"serving_default": double})
    return path


def _addresses():
    try:
        return {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), 0, socket.AF_INET)}
    except socket.gaierror:
        return set()


def test_xla_is_refused_only_while_it_serves():
    compiled = tf.function(lambda x: x + 1.0, jit_compile=True)
    with command.without_xla(), pytest.raises(tf.errors.OpError, match="XLA compilation disabled"):
        compiled(tf.constant(1.0))
    assert float(compiled(tf.constant(1.0))) == 2.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give exactly one of"),
        (["no-such-model"], "no model 'no-such-model'"),
        (["{empty}"], "contains neither numbered versions nor a model"),
        (["{base}", "--port", "70000"], "port must be an integer from 0 to 65535, got 70000"),
        (["{base}", "--port", "0", "--rest_api_port", "0"], "nothing is left to listen on"),
        (["{base}", "--grpc_channel_arguments", "x"], "takes KEY=VALUE"),
        (
            ["{base}", "--grpc_max_threads", "0"],
            "grpc_max_threads must be a positive integer, got 0",
        ),
        (
            ["{base}", "--rest_api_timeout_in_ms", "0"],
            "rest_api_timeout_in_ms must be a positive integer, got 0",
        ),
        *(
            (["{base}", f"--{name}={value}"], f"{name} must be a number in [0, ")
            for name in ("file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds")
            for value in ("-1", "nan", "inf", "1e30")
        ),
        *(
            (["{base}", f"--{name}=0"], f"{name} must be a positive integer, got 0")
            for name in (
                "max_connections",
                "rest_api_header_timeout_in_ms",
                "rest_api_idle_timeout_in_ms",
            )
        ),
        (["{base}", "--allowed_hosts=a,http://b"], "'http://b' is not the name of a host"),
        (["{base}", "--batching_parameters_file", "x"], "is set without enable_batching"),
        (
            ["{base}", "--enable_batching", "--batching_parameters_file", "{empty}/x"],
            "No such file",
        ),
        (["{base}", "--monitoring_config_file", "{empty}/x"], "cannot be read: No such file"),
        (["--model_base_path", "{empty}/x"], "is not a directory"),
        (["--model_config_file", "{empty}/models.config"], "models.config"),
        (
            ["--model_config_file", "{bad}"],
            "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1: ",
        ),
        (["{base}", "--port", "0", "--rest_api_port", "{taken}"], "REST cannot listen on"),
        (["{base}", "--rest_api_port", "0", "--port", "{taken}"], "gRPC cannot listen on"),
    ],
)
def test_bad_input_is_one_line(words, message, base, tmp_path, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "bad").write_text("{")
        names = {"empty": tmp_path, "base": base, "bad": tmp_path / "bad"}
        names["taken"] = taken.getsockname()[1]
        assert cli.main(["serve", *(word.format(**names) for word in words)]) == 2
    error = capfd.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("tfgen serve: error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in error


def test_the_flags_of_a_deployment_directory_are_accepted():
    """In the form that TF Serving uses: --NAME=VALUE, and true for switches."""
    parser = argparse.ArgumentParser()
    cli.serving.serve_arguments(parser)
    options = parser.parse_args(configs.flags())
    assert options.enable_batching
    assert options.allow_version_labels_for_unavailable_models
    assert options.batching_parameters_file == "/config/batching.config"
    assert options.monitoring_config_file == "/config/monitoring.config"
    options = parser.parse_args(["--enable_model_warmup=false", "base"])
    assert (options.enable_model_warmup, options.enable_batching) == (False, False)
    assert parser.parse_args(["--enable_batching", "base"]).models == ["base"]
    assert parser.parse_args(["base"]).enable_model_warmup


def test_without_the_extra_it_says_what_to_install():
    code = (
        "import sys; from importlib import util; found = util.find_spec; "
        "util.find_spec = lambda name: None if name == 'aiohttp' else found(name); "
        "from tfgen import cli; sys.exit(cli.main(['serve', 'vae-digits']))"
    )
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 2
    assert result.stderr == (
        "tfgen serve: error: serve needs aiohttp: pip install 'tfgen[serve]'\n"
    )
    assert time.monotonic() - start < 30


def test_the_command_line_needs_no_server_library():
    code = "import sys; from tfgen import cli; assert not {'aiohttp', 'grpc'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_server_of_saved_models_does_not_import_the_models():
    code = "import sys; from tfgen.export.serving import command; "
    code += "assert not {'tensorflow_probability', 'tfgen.models', 'tfgen.zoo'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)


@pytest.mark.slow
def test_models_are_answered_when_they_are_ready_and_nothing_is_left(base, images, tmp_path):
    """A server that is killed while it exports, and one that ends by a signal meanwhile."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TFGEN_HOME": str(home), "TMPDIR": str(temporary)}
    shutil.copytree(base, tmp_path / "saved")
    for number in (signal.SIGKILL, signal.SIGINT):
        (rest,) = free_ports(1)
        words = ["tfgen", "serve", "glow-digits", tmp_path / "saved"]
        words += ["--port", 0, "--rest_api_port", rest, "--enable_model_warmup=false"]
        url = f"http://127.0.0.1:{rest}/v1/models/glow-digits"
        process = subprocess.Popen(
            list(map(str, words)), stdout=subprocess.PIPE, text=True, env=environment
        )
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("saved: ready after") for line in lines)
        with Client(f"http://127.0.0.1:{rest}", "saved") as client:
            assert client.log_prob(images).shape == (3,)
        assert next(lines) == "glow-digits: exporting (1 of 1)\n"
        (version,) = requests.get(url, timeout=30).json()["model_version_status"]
        assert (version["version"], version["state"]) == ("1", "START")
        answer = requests.get(url + "/metadata", timeout=30)
        assert answer.status_code == 404
        start = time.monotonic()
        process.send_signal(number)
        assert process.wait() == (0 if number == signal.SIGINT else -number)
        assert time.monotonic() - start < 5
        rest_of_output = process.stdout.read()
        process.stdout.close()
    assert rest_of_output.splitlines()[-1] == "Stopped"
    assert list(temporary.iterdir()) == []
    assert list((home / "exports").iterdir()) == []


def test_models_that_cannot_be_exported_are_named(tmp_path, monkeypatch, capsys):
    """The others are served; if there are none, the server ends."""
    monkeypatch.setattr(exporter, "exporting", lambda *_: contextlib.nullcontext(iter(["full"])))
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path))
    (port,) = free_ports(1)
    assert cli.main(["serve", "vae-digits", "--port", "0", "--rest_api_port", str(port)]) == 2
    output = capsys.readouterr()
    assert "vae-digits: cannot be exported: full" in output.out
    assert "none of the models can be served" in output.err


def test_two_models_of_one_name_are_refused(base, capsys):
    assert cli.main(["serve", str(base), "vae-digits"]) == 2
    assert "two models are named vae-digits" in capsys.readouterr().err
