"""`tfgen export` and `tfgen deploy`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from rich.table import Table
from rich.text import Text

from tfgen.cli.common import model_argument, quiet_start
from tfgen.cli.terminal import console, json_argument, print_json, print_table
from tfgen.errors import InputError


def export_arguments(parser: argparse.ArgumentParser) -> None:
    model_argument(parser)
    parser.add_argument(
        "out", metavar="OUT", help="a directory for SavedModels, or a file that ends in .tflite"
    )
    parser.add_argument(
        "--version", type=int, metavar="N", help="version of the SavedModel (default: next)"
    )
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="precision of the TFLite file: float32 (default), float16, dynamic_int8 or int8",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a TFLite file that exists"
    )
    json_argument(parser)


def export(options: argparse.Namespace) -> None:
    from tfgen import zoo
    from tfgen.evaluation import quality

    wrong = quality.problem(zoo.card(options.model))
    if wrong:
        print(f"tfgen export: {options.model} is {wrong}", file=sys.stderr)
    to_device = options.out.lower().endswith(".tflite")
    if to_device and options.version is not None:
        raise InputError("--version is for SavedModels; a TFLite file has no version")
    if not to_device and options.precision is not None:
        raise InputError("--precision is for TFLite files, and OUT does not end in .tflite")
    if not to_device and options.overwrite:
        raise InputError("--overwrite is for TFLite files; a SavedModel gets a new version")
    with quiet_start():
        from tfgen import export
    if to_device:
        with quiet_start():  # the converter writes to stderr too
            path = export.tflite(
                options.model,
                options.out,
                options.precision or "float32",
                overwrite=options.overwrite,
            )
    else:
        path = export.saved_model(options.model, options.out, version=options.version)
    card = export.card(path)
    if options.json:
        kind = "tflite" if to_device else "saved_model"
        print_json({"model": options.model, "path": str(path), "format": kind, "card": card})
        return
    if to_device:
        _print_measured(card)
    print(f"Exported to {path}")


def _print_measured(card):
    """Print what the exporter measured when it ran a TFLite file."""
    table = Table("signature", "error", "ms", box=None, pad_edge=False)
    for name, entry in card["signatures"].items():
        (error,) = entry["error"].values()
        if "relative" in error:
            text = f"{error['relative']:.1e} relative"
        else:
            text = f"{error['mean_levels']:.3f} of 255 levels"
        table.add_row(name, text, f"{card['latency'][name]:.3f}")
    print_table(table)
    out = console()
    for name, entry in card["left_out"].items():
        out.print(Text(f"{name} is left out: {entry['reason']}"), soft_wrap=True)
    images = card["images"]
    text = (
        f"{card['bytes']:,} bytes of {card['precision']}; errors over {images['count']} images "
        f"({images['from']}), milliseconds per image on this machine"
    )
    out.print(Text(text), soft_wrap=True)
    if card["networks"] != "float32":
        text = (
            f"networks compute in {card['networks']}, and errors are relative to the model in "
            "float32: its log_prob differs from the original's by the rounding of bfloat16"
        )
        out.print(Text(text), soft_wrap=True)


def deploy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="directory to create")
    parser.add_argument(
        "models",
        nargs="+",
        metavar="[NAME=]BASE_DIR",
        help="directory that `tfgen export` wrote (NAME: by default that of the directory)",
    )
    parser.add_argument(
        "--label",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME:LABEL=N",
        help="versions of a model that are served under a label, such as vae:stable=1",
    )
    json_argument(parser)


def deploy(options: argparse.Namespace) -> None:
    models: dict[str, str] = {}
    labels: dict[str, dict[str, int]] = {}
    for given in options.models:
        name, equals, path = given.partition("=")
        if not equals or os.path.isdir(given):
            name, path = Path(os.path.abspath(given)).name, given
        if name in models:
            raise InputError(f"two models are named {name}: give one as NAME=BASE_DIR")
        models[name] = path
    for given in options.label:
        match = re.fullmatch(r"([^:=]+):([^:=/]+)=([1-9][0-9]{0,18})", given)
        if not match or int(match[3]) >= 2**63:
            raise InputError(f"--label takes NAME:LABEL=N, such as vae:stable=1, got {given!r}")
        labels.setdefault(match[1], {})[match[2]] = int(match[3])
    from tfgen.export import deploy

    path = deploy.write(options.out, models, labels=labels)
    if options.json:
        print_json({"path": str(path), "models": models, "labels": labels})
        return
    print(f"Wrote {path}: docker compose up, or kubectl apply -k {path}/kubernetes/production")
