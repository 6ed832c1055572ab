"""`tfgen promote`."""

from __future__ import annotations

import argparse

from tfgen.cli.terminal import json_argument, print_json

MESSAGES = {
    "loading": "Version {version} of {model} will be loaded; once it is AVAILABLE, run the same "
    "command again to move {label}",
    "moved": "{label} of {model} is version {version}; run the same command again to unload "
    "versions without a label",
    "done": "{label} of {model} is version {version}",
}


def promote_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen promote`."""
    parser.add_argument("model", metavar="NAME", help="name of a served model")
    parser.add_argument(
        "deployment",
        metavar="DEPLOYMENT",
        help="directory that `tfgen deploy` wrote, or a models.config",
    )
    parser.add_argument("version", metavar="VERSION", type=int, help="version of the model")
    parser.add_argument(
        "--label", default="stable", metavar="NAME", help="label to move (default: stable)"
    )
    parser.add_argument(
        "--server",
        metavar="URL",
        help="REST API of the TF Serving that reads DEPLOYMENT; take all steps at once, waiting "
        "for this server after each",
    )
    json_argument(parser)


def promote(options: argparse.Namespace) -> None:
    """Take the next step of moving a label to a version, or all steps with a server."""
    from tfgen.export import deploy

    model, version, label = options.model, options.version, options.label
    step = deploy.promote(options.deployment, model, version, label=label, server=options.server)
    found = {"model": model, "label": label, "version": version, "step": step}
    if options.json:
        print_json(found)
    else:
        print(MESSAGES[step].format(**found))
