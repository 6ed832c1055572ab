"""The command line: `tfgen` and `tfgen-train`.

Parsing, `--help` and listings do without TensorFlow, which takes seconds to import.
"""

import argparse
import contextlib
import signal
import sys

import tfgen
from tfgen.cli import exports, likelihoods, pictures, pretrained, serving, training
from tfgen.errors import InputError

COMMANDS = {
    "train": (training.train_arguments, training.train, "Train the model of a recipe and save it."),
    "evaluate": (
        likelihoods.evaluate_arguments,
        likelihoods.evaluate,
        "Measure a model on a split of a data set.",
    ),
    "sample": (pictures.sample_arguments, pictures.sample, "Draw a grid of samples."),
    "interpolate": (
        pictures.interpolate_arguments,
        pictures.interpolate,
        "Draw the images between two in latent space.",
    ),
    "score": (
        likelihoods.score_arguments,
        likelihoods.score,
        "Write the log-likelihood of each image of a folder.",
    ),
    "fetch": (
        pretrained.fetch_arguments,
        pretrained.fetch,
        "Bring a model from a URL or a folder, verified.",
    ),
    "export": (exports.export_arguments, exports.export, "Write a SavedModel or a TFLite file."),
    "deploy": (
        exports.deploy_arguments,
        exports.deploy,
        "Write what TF Serving needs to serve exports.",
    ),
    "serve": (serving.serve_arguments, serving.serve, "Answer TF Serving's APIs, for development."),
    "zoo": (
        pretrained.zoo_arguments,
        pretrained.zoo,
        "List the pretrained models, or show the card of one.",
    ),
}


def main(arguments=None):
    """The `tfgen` command."""
    parser = argparse.ArgumentParser(
        prog="tfgen", description="Likelihood-based generative models to train, trust and serve."
    )
    parser.add_argument("--version", action="version", version=f"tfgen {tfgen.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (add_arguments, run, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        add_arguments(command)
        command.set_defaults(run=run)
    options = parser.parse_args(arguments)
    return _guarded(f"tfgen {options.command}", options)


def train(arguments=None):
    """The `tfgen-train` command, the same as `tfgen train`."""
    add_arguments, run, summary = COMMANDS["train"]
    parser = argparse.ArgumentParser(prog="tfgen-train", description=summary)
    add_arguments(parser)
    parser.set_defaults(run=run)
    return _guarded("tfgen-train", parser.parse_args(arguments))


def _guarded(program, options):
    """Run a command; bad input becomes one line on stderr and exit code 2."""
    _let_sigterm_clean_up()
    _let_any_file_name_out()
    try:
        options.run(options)
    except InputError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"{program}: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return getattr(interrupt, "exit_code", 130)
    except BrokenPipeError:  # The reader of a pipe, such as head, has had enough.
        sys.stdout = None
        return 141
    except OSError as error:  # A disk, a permission, a path: nothing that a traceback explains.
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _let_any_file_name_out():
    """Names that are not text in the system's encoding are printed as the bytes that they are."""
    if getattr(sys.stdout, "errors", None) == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")


def _let_sigterm_clean_up():
    """SIGTERM ends the command as an exception does, so that nothing half-written is left."""

    def stop(number, frame):
        sys.exit(128 + number)

    with contextlib.suppress(ValueError):  # Only the main thread may.
        signal.signal(signal.SIGTERM, stop)
