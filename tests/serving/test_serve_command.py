"""`tfgen serve` as a process: what it says, what it answers, how it ends."""

import argparse
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import requests

from tfgen import cli
from tfgen.errors import InputError
from tfgen.export import Client
from tfgen.export.serving import command


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
def test_it_serves_and_ends_with_its_last_answer(base, images, truth, tmp_path):
    rpc, rest = free_ports(2)
    words = ["tfgen", "serve", base, "--port", rpc, "--rest_api_port", rest]
    words += ["--grpc_socket_path", tmp_path / "socket"]
    log = (tmp_path / "log").open("w+")
    with subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:
        said = [process.stdout.readline() for _ in range(4)]
        assert said == [
            command.PRODUCTION + "\n",
            f"REST  http://127.0.0.1:{rest}/v1/models/vae-digits\n",
            f"gRPC  127.0.0.1:{rpc}\n",
            f"gRPC  unix:{tmp_path / 'socket'}\n",
        ]
        expected = truth["log_prob"](images=images)["log_prob"].numpy()
        for address in (
            f"http://127.0.0.1:{rest}",
            f"127.0.0.1:{rpc}",
            f"unix:{tmp_path / 'socket'}",
        ):
            with Client(address, "vae-digits") as client:
                np.testing.assert_allclose(client.log_prob(images), expected, rtol=1e-5)
        others = [a for a in _addresses() if a != "127.0.0.1"]
        for address in others:
            with pytest.raises(requests.ConnectionError):
                requests.get(f"http://{address}:{rest}/v1/models/vae-digits", timeout=5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    log.seek(0)
    assert "Traceback" not in log.read()


def _addresses():
    try:
        return {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), 0, socket.AF_INET)}
    except socket.gaierror:
        return set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "serve what?"),
        (["no-such-model"], "no model 'no-such-model'"),
        (["{empty}"], "holds neither numbered versions nor a model"),
        (["{base}", "--port", "70000"], "--port must lie between"),
        (["{base}", "--port", "0", "--rest_api_port", "0"], "nothing is left to listen on"),
        (["{base}", "--grpc_channel_arguments", "x"], "takes KEY=VALUE"),
        (["--model_base_path", "{empty}/x"], "there is no such directory"),
        (["--model_config_file", "{empty}/models.config"], "models.config"),
        (["{base}", "--port", "0", "--rest_api_port", "{taken}"], "REST cannot listen on"),
        (["{base}", "--rest_api_port", "0", "--port", "{taken}"], "gRPC cannot listen on"),
    ],
)
def test_bad_input_is_one_line(words, message, base, tmp_path, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names = {"empty": tmp_path, "base": base, "taken": taken.getsockname()[1]}
        assert cli.main(["serve", *(word.format(**names) for word in words)]) == 2
    error = capfd.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("tfgen serve: error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in error


def test_without_the_extra_it_says_what_to_install():
    code = (
        "import sys; from importlib import util; found = util.find_spec; "
        "util.find_spec = lambda name: None if name == 'aiohttp' else found(name); "
        "from tfgen import cli; sys.exit(cli.main(['serve', 'vae-digits']))"
    )
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr == (
        "tfgen serve: error: serve needs aiohttp: pip install 'tfgen[serve]'\n"
    )
    assert time.monotonic() - start < 30


def test_the_command_line_needs_no_server_library():
    code = "import sys; from tfgen import cli; assert not {'aiohttp', 'grpc'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pretrained_name_is_exported_and_served(tmp_path):
    options = argparse.Namespace(
        models=["vae-digits"], model_config_file=None, model_base_path=None
    )
    ((name, path),) = command._models(options, tmp_path).items()
    assert name == "vae-digits"
    assert (path / "1" / "saved_model.pb").is_file()


def test_two_models_of_one_name_are_refused(base, tmp_path):
    options = argparse.Namespace(
        models=[str(base), "vae-digits"], model_config_file=None, model_base_path=None
    )
    with pytest.raises(InputError, match="two models of the name vae-digits"):
        command._models(options, tmp_path)
