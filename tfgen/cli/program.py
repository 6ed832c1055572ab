"""The two programs, `tfgen` and `tfgen-train`, and the table of commands.

Parsing, `--help` and listings do not import TensorFlow, which takes seconds.
"""

import argparse
import contextlib
import io
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tfgen
from tfgen.cli import exports, likelihoods, pictures, pretrained, serving, training
from tfgen.errors import InputError


class Command(NamedTuple):
    """A command: functions that add its arguments to a parser and run it, and a line of help."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    summary: str


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
        "Fetch a model from a URL or a directory and verify it.",
    ),
    "export": Command(
        exports.export_arguments, exports.export, "Write a SavedModel or a TFLite file."
    ),
    "deploy": Command(
        exports.deploy_arguments,
        exports.deploy,
        "Write the files that TF Serving needs to serve exported models.",
    ),
    "serve": Command(
        serving.serve_arguments, serving.serve, "Serve TF Serving's APIs, for development."
    ),
    "zoo": Command(
        pretrained.zoo_arguments,
        pretrained.zoo,
        "List the pretrained models, or show the card of one.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `tfgen` program and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="tfgen", description="Likelihood-based generative models to train, trust and serve."
    )
    parser.add_argument("--version", action="version", version=f"tfgen {tfgen.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        summary = command.summary
        command.add_arguments(commands.add_parser(name, help=summary, description=summary))
    options = parser.parse_args(arguments)
    return _run(f"tfgen {options.command}", COMMANDS[options.command], options)


def train(arguments: Sequence[str] | None = None) -> int:
    """Run the `tfgen-train` program, which is `tfgen train`, and return its exit code."""
    command = COMMANDS["train"]
    parser = argparse.ArgumentParser(prog="tfgen-train", description=command.summary)
    command.add_arguments(parser)
    return _run("tfgen-train", command, parser.parse_args(arguments))


def _run(program, command, options):
    """Run a command: bad input gives one line on stderr and exit code 2."""
    _exit_on_sigterm()
    _print_any_file_name()
    try:
        command.run(options)
    except InputError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"{program}: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return getattr(interrupt, "exit_code", 130)
    except BrokenPipeError:  # The reader of a pipe, such as head, has ended.
        sys.stdout = None
        return 141
    except OSError as error:  # Such as a full disk or a missing permission.
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _print_any_file_name():
    """Print file names that are not text in the system's encoding as their own bytes."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")


def _exit_on_sigterm():
    """SIGTERM raises `SystemExit`, so that clean-up code runs."""

    def stop(number, frame):
        sys.exit(128 + number)

    with contextlib.suppress(ValueError):  # Signal handlers work in the main thread only.
        signal.signal(signal.SIGTERM, stop)
