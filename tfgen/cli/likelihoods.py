"""`tfgen evaluate` and `tfgen score`."""

import os
import re
import sys
from pathlib import Path

from rich.console import Console

from tfgen.cli.common import model_argument, quiet_start
from tfgen.errors import InputError


def evaluate_arguments(parser):
    model_argument(parser)
    parser.add_argument("--data", metavar="SOURCE", help="default: the data that it was trained on")
    parser.add_argument("--data-dir", metavar="DIR", help="where local data sets lie")
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument(
        "--figure",
        nargs="+",
        metavar="NAME",
        help="of the card, such as bits_per_dim (default: every one that the data allow)",
    )


def evaluate(options):
    from tfgen import zoo

    card = zoo.card(options.model)
    with quiet_start():
        model = zoo.load(options.model)
        from tfgen import data
        from tfgen.evaluation import report
        from tfgen.evaluation.metrics import evaluate
        from tfgen.zoo import trained_on
    own = card.get("recipe", {}).get("data", {}).get("source")
    source = options.data or own
    if source is None:
        raise InputError(f"the card of {options.model} names no data: give --data")
    if source == own:
        chosen = trained_on.load(card, options.data_dir)
    else:
        chosen = data.load(source, data_dir=options.data_dir, image_shape=model.image_shape)
    if options.split not in chosen.splits:
        raise InputError(
            f"{source} has no split {options.split!r}; it has {', '.join(chosen.splits)}"
        )
    of_card = card.get("metrics", {})
    wanted = options.figure or [*of_card] or ["bits_per_dim", "nats"]
    metrics = {}
    status = Console(stderr=True).status
    if {"bits_per_dim", "nats"} & {*wanted}:
        with status(f"likelihood of {chosen.splits[options.split]:,} images"):
            found = evaluate(model, chosen, options.split)
        metrics = {name: found[name] for name in found if name in wanted}
    others = [name for name in wanted if name not in metrics]
    if source == own and options.split == "test":
        from tfgen.evaluation import figures

        for name in others:
            samples = of_card.get(name, {}).get("protocol", {}).get("samples")
            with status(report.EXPLAINED.get(name, name)):
                metrics[name] = figures.measure(name, model, chosen, samples)
    elif options.figure and others:
        raise InputError(
            f"{others[0]} is a figure of the test split of {own or 'its training data'}"
        )
    Console().print(report.table({"name": card["name"], "metrics": metrics}))


def score_arguments(parser):
    model_argument(parser)
    parser.add_argument("folder", metavar="FOLDER", help="of images, with those in its subfolders")
    parser.add_argument(
        "--draws",
        type=int,
        default=1,
        metavar="N",
        help="of a flow's dequantization noise, or a VAE's importance samples (default: 1)",
    )
    parser.add_argument("--out", metavar="FILE", help="a CSV file (default: the terminal)")


def score(options):
    """A line for each image: the file, log p(x) in nats, bits/dim, how it was estimated."""
    from tfgen import zoo

    out = None if options.out is None else _csv_file(options.out)
    with quiet_start():
        model = zoo.load(options.model)
        from tfgen.evaluation import likelihood as scoring
        from tfgen.files import write_atomically
    rows, fitted, unreadable, words = scoring.score_folder(model, options.folder, options.draws)
    if fitted:
        size = "x".join(map(str, model.image_shape[:2]))
        print(
            f"tfgen score: {len(fitted)} of {len(rows)} images, {fitted[0]} the first, are not of "
            f"{size} and were fitted to it, which changes their likelihood",
            file=sys.stderr,
        )
    for path, reason in unreadable:
        print(f"tfgen score: left out: {path}: {reason}", file=sys.stderr)
    if out is None:
        scoring.write_csv(sys.stdout, rows, words)
        return

    def write(path):
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            scoring.write_csv(file, rows, words)

    if _is_device(out):
        write(out)  # It stays what it is; it may be where a message would go.
        return
    write_atomically(Path(os.path.realpath(out)), write)
    print(f"{len(rows)} images in {out}: {words}")


def _is_device(path):
    """Whether it is a device or a pipe, or a name for where a process' output goes already."""
    of_process = re.fullmatch(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+", str(path))
    return bool(of_process) or (path.exists() and not path.is_file())


def _csv_file(name):
    path = Path(name)
    if path.is_dir():
        raise InputError(f"--out {name} is a directory: give a file")
    if not path.parent.is_dir():
        raise InputError(f"--out {name}: there is no directory {path.parent}")
    return path
