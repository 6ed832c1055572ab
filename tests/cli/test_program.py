"""The two programs: listings, exit codes, signals, and output on stdout and stderr."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

import tfgen
from tfgen import cli

SMALL = ["--epochs", "4", "--set", "hidden_units=[8]"]
SETTING = "num_importance_samples=2"  # beyond the recipe: looked up in the class, with TensorFlow


def program(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    "words",
    [["tfgen-train", "--help"], ["tfgen-train", "--list"], ["tfgen", "--help"], ["tfgen", "zoo"]],
)
def test_help_and_listings_answer_within_a_second(words):
    times = []
    for _ in range(3):  # the machine may be busy during some of them
        start = time.perf_counter()
        result = program(*words)
        times.append(time.perf_counter() - start)
        assert result.returncode == 0, result.stderr
        assert result.stdout
        assert not result.stderr
    assert min(times) < 1.0


def test_listings_name_everything():
    listing = program("tfgen-train", "--list").stdout
    for name in (*tfgen.training.recipe.names(), *tfgen.data.names()):
        assert name in listing
    listing = program("tfgen", "zoo").stdout
    assert all(name in listing for name in tfgen.zoo.list())


def test_training_in_a_separate_process_prints_only_what_matters(tmp_path):
    words = ["tfgen-train", "vae-digits", *SMALL, "--out", "run", "--devices", "cpu:2"]
    result = program(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "bits/dim" in result.stdout
    assert "images/s" in result.stdout
    assert "Saved in run" in result.stdout
    assert "Traceback" not in result.stderr
    card = tfgen.zoo.card(tmp_path / "run")
    assert card["training"]["replicas"] == 2
    assert (
        card["command"]
        == "tfgen-train vae-digits --epochs 4 --devices cpu:2 --set 'hidden_units=[8]'"
    )


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A training that SIGTERM stopped, its output and error, and the process that resumed it."""
    folder = tmp_path_factory.mktemp("interrupted")
    words = ["tfgen-train", "vae-digits", "--out", "run", "--epochs", "30", "--set", SETTING]
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )
    while not list(folder.glob("run/logs/train/events*")):  # the first step follows
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    out, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    message = r"tfgen-train: stopped at step \d+ of 630 and saved; resume with: (.*)\n"
    command = re.fullmatch(message, error)[1]
    return folder / "run", out, command, program(*command.split(), cwd=folder)


def test_sigterm_saves_and_the_command_that_is_printed_resumes(interrupted):
    run, _, command, resumed = interrupted
    assert command == "tfgen-train --resume --out run"
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed at step" in resumed.stdout
    assert "Saved in run" in resumed.stdout
    assert tfgen.zoo.card(run)["command"] == f"tfgen-train vae-digits --epochs 30 --set {SETTING}"


def test_the_run_of_a_single_device_leaves_stderr_empty(interrupted):
    assert interrupted[-1].stderr == ""


def test_settings_beyond_the_recipe_print_no_messages_of_tensorflow(interrupted):
    """The process' stderr is empty, except for what it prints after SIGTERM."""
    assert interrupted[1].startswith("VAE of ")


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"tfgen {tfgen.__version__}\n"


def test_a_process_exits_with_code_2():
    result = program("tfgen-train", "vae-digit")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert program("tfgen", "nonsense").returncode == 2


def test_defects_keep_their_traceback(monkeypatch):
    def fail(*arguments, **options):
        raise ValueError("a defect")

    monkeypatch.setattr(tfgen.zoo, "load", fail)
    with pytest.raises(ValueError, match="a defect"):
        cli.main(["sample", "vae-digits"])


def test_a_full_disk_that_tensorflow_finds_is_one_line(monkeypatch, capsys):
    def fail(*arguments):
        text = "{{function_node __wrapped__SaveV2}} out/1; No space left on device [Op:SaveV2]"
        raise tf.errors.ResourceExhaustedError(None, None, text)

    monkeypatch.setattr(tfgen.zoo, "load", fail)
    assert cli.main(["sample", "vae-digits"]) == 2
    assert capsys.readouterr().err == "tfgen sample: error: out/1; No space left on device\n"


def test_interrupted_commands_say_so(monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(tfgen.zoo, "load", interrupt)
    assert cli.main(["sample", "vae-digits"]) == 130
    assert capsys.readouterr().err == "tfgen sample: interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_honoured_where_python_discards_its_exception(number, monkeypatch, capsys):
    """As in a destructor or a callback of a library, where the traceback used to be printed."""

    class Destroyed:
        def __del__(self):
            signal.raise_signal(number)
            time.sleep(0)

    def command(*arguments):
        Destroyed()
        time.sleep(10)
        raise AssertionError("the command went on")

    monkeypatch.setattr(tfgen.zoo, "card", command)
    assert cli.main(["zoo", "vae-digits"]) == 128 + number
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert capsys.readouterr() == ("", f"tfgen zoo: {word}\n")


def test_a_signal_while_python_shuts_down_prints_no_traceback():
    code = (
        "import atexit, os, signal, sys, tfgen.cli\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGTERM), None))\n"
        "sys.argv = ['tfgen', 'zoo']\n"
        "sys.exit(tfgen.cli.main())"
    )
    result = program(sys.executable, "-c", code)
    assert result.returncode == -signal.SIGTERM
    assert result.stderr == ""


def test_want_of_memory_is_one_line(monkeypatch, capsys):
    for error in (MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM [8,8]")):

        def fail(*arguments, error=error):
            raise error

        monkeypatch.setattr(tfgen.zoo, "load", fail)
        assert cli.main(["sample", "vae-digits"]) == 2
        assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["tfgen", "tfgen.cli"])
def test_the_package_runs_as_a_module(module):
    result = program(sys.executable, "-m", module, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: tfgen ")


SHELL = {
    "a closed pipe": ("tfgen zoo | (exec <&-; sleep 0.5); exit ${PIPESTATUS[0]}", 141, ""),
    "a full disk": ("tfgen zoo > /dev/full", 2, "No space left on device"),
    "a full disk, for help": ("tfgen --help > /dev/full", 2, "No space left on device"),
    "a full disk, for JSON": ("tfgen zoo --json > /dev/full", 2, "No space left on device"),
    "no stdout": ("tfgen zoo >&-", 0, ""),
    "no stderr": ("tfgen nonsense 2>&-", 2, ""),
    "a full stderr": ("tfgen nonsense 2>/dev/full", 2, ""),
    "ASCII": ("PYTHONIOENCODING=ascii tfgen zoo", 0, ""),
    "ASCII, in JSON": ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 tfgen zoo --json", 0, ""),
    "no colours": ("NO_COLOR=1 COLUMNS=20 tfgen-train --list", 0, ""),
}


@pytest.mark.parametrize("case", SHELL)
def test_output_that_cannot_be_written_is_one_line(case):
    command, code, message = SHELL[case]
    result = program("bash", "-c", command)
    assert result.returncode == code
    assert "\x1b" not in result.stdout
    assert result.stderr.count("\n") == bool(message)
    assert message in result.stderr


def test_ctrl_c_is_one_line():
    process = subprocess.Popen(
        ["tfgen", "sample", "vae-digits", "--grid", "999x999"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1.5)  # Python has started; TensorFlow has not
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "tfgen sample: interrupted\n")
    assert process.returncode == 130
