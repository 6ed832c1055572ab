"""The two programs, `tfgen` and `tfgen-train`, and the table of commands.

Parsing, `--help` and listings do not import TensorFlow, which takes seconds.
"""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tfgen
from tfgen import checks, files
from tfgen.cli import (
    completion,
    devices,
    exports,
    interruption,
    likelihoods,
    pictures,
    pretrained,
    promotion,
    serving,
    terminal,
    training,
)
from tfgen.cli.parser import Parser, UsageError
from tfgen.errors import InputError


class Command(NamedTuple):
    """A command: functions that add its arguments to a parser and run it, and a line of help."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    summary: str


OPERATION = r"\{\{[^}]*\}\} | \[Op:\w+\]"  # in messages of TensorFlow


COMMANDS = {
    "train": Command(
        training.train_arguments, training.train, "Train the model of a recipe and save it."
    ),
    "evaluate": Command(
        likelihoods.evaluate_arguments,
        likelihoods.evaluate,
        "Measure a model on a split of a data set.",
    ),
    "sample": Command(pictures.sample_arguments, pictures.sample, "Draw a grid of samples."),
    "interpolate": Command(
        pictures.interpolate_arguments,
        pictures.interpolate,
        "Interpolate between images in latent space.",
    ),
    "score": Command(
        likelihoods.score_arguments,
        likelihoods.score,
        "Write the log-likelihood of each image in a folder.",
    ),
    "fetch": Command(
        pretrained.fetch_arguments,
        pretrained.fetch,
        "Fetch a model from a URL or a directory, or verify and repair it.",
    ),
    "export": Command(
        exports.export_arguments, exports.export, "Write a SavedModel or a TFLite file."
    ),
    "deploy": Command(
        exports.deploy_arguments,
        exports.deploy,
        "Write the files that TF Serving needs to serve exported models.",
    ),
    "promote": Command(
        promotion.promote_arguments,
        promotion.promote,
        "Point a label of a served model to another version.",
    ),
    "serve": Command(
        serving.serve_arguments, serving.serve, "Serve TF Serving's APIs, for development."
    ),
    "zoo": Command(
        pretrained.zoo_arguments,
        pretrained.zoo,
        "List the pretrained models, or show the card of one.",
    ),
    "devices": Command(
        devices.devices_arguments,
        devices.devices,
        "List the devices that TensorFlow uses, and say why a GPU is not used.",
    ),
    "completion": Command(
        completion.completion_arguments,
        completion.completion,
        "Print the script that completes commands in a shell.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `tfgen` program and return its exit code."""
    parser, parsers = _parsers()
    completion.answer(parser)
    code = _run("tfgen", lambda: _parse(parser, parsers, _words(arguments)))
    return _ended(code, arguments)


def train(arguments: Sequence[str] | None = None) -> int:
    """Run the `tfgen-train` program, which is `tfgen train`, and return its exit code."""
    command = COMMANDS["train"]
    parser = Parser(prog="tfgen-train", description=command.summary)
    command.add_arguments(parser)
    completion.answer(parser)
    code = _run("tfgen-train", lambda: ("train", _parsed(parser, _words(arguments))))
    return _ended(code, arguments)


def _ended(code, arguments):
    if arguments is None:  # The process ends now.
        interruption.leave_to_the_system()
    return code


def _words(arguments):
    return sys.argv[1:] if arguments is None else list(arguments)


def _parsers():
    """The parser of `tfgen`, and that of each command."""
    parser = Parser(
        prog="tfgen", description="Likelihood-based generative models to train, trust and serve."
    )
    parser.add_argument("--version", action="version", version=f"tfgen {tfgen.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    parsers = {}
    for name, command in COMMANDS.items():
        summary = command.summary
        parsers[name] = commands.add_parser(name, help=summary, description=summary)
        command.add_arguments(parsers[name])
    return parser, parsers


def _parse(parser, parsers, words):
    """The name of the command, and its parsed arguments."""
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    _parsed(parser, words[:at])  # Prints the help or the version.
    if at == len(words):
        parser.error("no COMMAND is given")
    name = words[at]
    if name not in COMMANDS:
        parser.error(f"there is no command {name!r}{checks.did_you_mean(name, COMMANDS)}")
    return name, _parsed(parsers[name], words[at + 1 :])


def _parsed(parser, words):
    parser.refuse_unknown_options(words)
    options, unknown = parser.parse_known_args(words)
    parser.refuse_unknown_words(unknown)
    return options


def _run(program, parse):
    """Parse and run a command: bad input gives one line on stderr and exit code 2, or its own."""
    terminal.prepare()
    try:
        with interruption.honoured():
            try:
                name, options = parse()
                if program != "tfgen-train":
                    program = f"{program} {name}"
                COMMANDS[name].run(options)
            finally:
                terminal.flush()
    except UsageError as error:
        terminal.say(f"{error.program}: error: {error}")
        return 2
    except InputError as error:
        terminal.say(f"{program}: error: {error}", is_error=True)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt as interrupt:
        terminal.say(f"{program}: {str(interrupt) or 'interrupted'}")
        return getattr(interrupt, "exit_code", 130)
    except BrokenPipeError:  # The reader of a pipe, such as head, has ended.
        terminal.abandon_failed_stdout()
        return 141
    except OSError as error:  # Such as a full disk or a missing permission.
        terminal.abandon_failed_stdout()
        terminal.say(f"{program}: error: {_reason(error)}")
        return 2
    except Exception as error:
        reason = _reason_of_memory(error) or _reason_of_tensorflow(error)
        if reason is None:
            raise
        terminal.say(f"{program}: error: {reason}")
        return 2
    return 0


def _reason(error):
    """Which file an `OSError` is about, and why."""
    if isinstance(error.filename, str | bytes) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return error.strerror or str(error)


def _reason_of_tensorflow(error):
    """Why TensorFlow could not write a file; None for any other error."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    denied = isinstance(error, tensorflow.errors.PermissionDeniedError)
    if not denied and os.strerror(errno.ENOSPC) not in error.message:
        return None
    return re.sub(OPERATION, "", error.message.splitlines()[0])


def _reason_of_memory(error):
    """What to do about an error for want of memory; None for any other error."""
    tensorflow = sys.modules.get("tensorflow")
    exhausted = [MemoryError]
    if tensorflow is not None:
        exhausted.append(tensorflow.errors.ResourceExhaustedError)
    if not isinstance(error, tuple(exhausted)) or files.reason_in(str(error)):
        return None
    return "there is not enough memory: use a smaller model, batch or image"
