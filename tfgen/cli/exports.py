"""`tfgen export` and `tfgen deploy`."""

import os
import re
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfgen.cli.common import model_argument, quiet_start
from tfgen.errors import InputError


def export_arguments(parser):
    model_argument(parser)
    parser.add_argument(
        "out", metavar="OUT", help="a directory for SavedModels, or a file that ends in .tflite"
    )
    parser.add_argument("--version", type=int, metavar="N", help="of a SavedModel (default: next)")
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="of a TFLite file: float32 (default), float16, dynamic_int8 or int8",
    )
    parser.add_argument(
        "--promote",
        type=int,
        metavar="N",
        help="export nothing: let a label of the served MODEL mean its version N; OUT is a folder "
        "that `tfgen deploy` made, or a models.config",
    )
    parser.add_argument("--label", metavar="NAME", help="with --promote (default: stable)")
    parser.add_argument(
        "--server",
        metavar="URL",
        help="with --promote: of the REST API of the TF Serving that reads OUT; version N is "
        "waited for, and all steps are made",
    )


def export(options):
    if options.promote is not None:
        _promote(options)
        return
    if options.label is not None or options.server is not None:
        raise InputError("--label and --server go with --promote N")
    from tfgen import zoo

    zoo.card(options.model)
    to_device = options.out.lower().endswith(".tflite")
    if to_device and options.version is not None:
        raise InputError("--version is for SavedModels; a TFLite file has none")
    if not to_device and options.precision is not None:
        raise InputError("--precision is for TFLite files, and OUT does not end in .tflite")
    with quiet_start():
        from tfgen import export
    if not to_device:
        path = export.saved_model(options.model, options.out, version=options.version)
        print(f"Exported to {path}")
        return
    with quiet_start():  # The converter reports there too.
        path = export.tflite(options.model, options.out, options.precision or "float32")
    _print_measured(export.card(path))
    print(f"Exported to {path}")


def _promote(options):
    if options.version is not None or options.precision is not None:
        raise InputError("--promote exports nothing: leave --version and --precision away")
    from tfgen.export import deploy

    label = options.label or "stable"
    step = deploy.promote(
        options.out, options.model, options.promote, label=label, server=options.server
    )
    text = {
        "loading": f"Version {options.promote} of {options.model} is to be loaded; when it is "
        f"AVAILABLE, the same command moves {label}",
        "moved": f"{label} of {options.model} is version {options.promote}; the same command "
        "lets versions without a label go",
        "done": f"{label} of {options.model} is version {options.promote}",
    }
    print(text[step])


def _print_measured(card):
    """What the exporter found when it ran a TFLite file."""
    table = Table("signature", "error", "ms", box=None, pad_edge=False)
    for name, entry in card["signatures"].items():
        (error,) = entry["error"].values()
        if "relative" in error:
            text = f"{error['relative']:.1e} relative"
        else:
            text = f"{error['mean_levels']:.3f} of 255 levels"
        table.add_row(name, text, f"{card['latency'][name]:.3f}")
    console = Console()
    console.print(table)
    for name, entry in card["left_out"].items():
        console.print(Text(f"{name} is left out: {entry['reason']}"))
    images = card["images"]
    words = (
        f"{card['bytes']:,} bytes of {card['precision']}; errors over {images['count']} images "
        f"({images['from']}), milliseconds for one image on this machine"
    )
    console.print(Text(words))
    if card["networks"] != "float32":
        console.print(
            Text(
                f"networks in {card['networks']}, as in what the errors are of: log_prob differs "
                "from the model's by the rounding of its own networks too"
            )
        )


def deploy_arguments(parser):
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument(
        "models",
        nargs="+",
        metavar="[NAME=]BASE_DIR",
        help="what `tfgen export` wrote (NAME: the directory's own by default)",
    )
    parser.add_argument(
        "--label",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME:LABEL=N",
        help="versions of a model that are served under a label, such as vae:stable=1",
    )


def deploy(options):
    models, labels = {}, {}
    for given in options.models:
        name, equals, path = given.partition("=")
        if not equals or os.path.isdir(given):
            name, path = Path(os.path.abspath(given)).name, given
        if name in models:
            raise InputError(f"two models of the name {name}: give one as NAME=BASE_DIR")
        models[name] = path
    for given in options.label:
        match = re.fullmatch(r"([^:=]+):([^:=/]+)=([1-9][0-9]{0,18})", given)
        if not match or int(match[3]) >= 2**63:
            raise InputError(f"--label takes NAME:LABEL=N, such as vae:stable=1, got {given!r}")
        labels.setdefault(match[1], {})[match[2]] = int(match[3])
    from tfgen.export import deploy

    path = deploy.write(options.out, models, labels=labels)
    print(f"Wrote {path}: docker compose up, or kubectl apply -k {path}/kubernetes/production")
