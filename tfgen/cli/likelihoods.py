"""`tfgen evaluate` and `tfgen score`."""

import argparse
import os
import re
import sys
from pathlib import Path

from rich.console import Console

from tfgen.cli.common import data_dir_argument, model_argument, output_file, quiet_start
from tfgen.errors import InputError


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen evaluate`."""
    model_argument(parser)
    parser.add_argument(
        "--data", metavar="SOURCE", help="data set (default: the model's training data)"
    )
    data_dir_argument(parser)
    parser.add_argument("--split", default="test", help="split of the data set (default: test)")
    parser.add_argument(
        "--metric",
        nargs="+",
        metavar="NAME",
        help="metrics of the card, such as bits_per_dim (default: all that the data allow)",
    )


def evaluate(options: argparse.Namespace) -> None:
    """Measure the metrics of a card again, or the likelihood of other data."""
    from tfgen import zoo

    card = zoo.card(options.model)
    with quiet_start():
        model = zoo.load(options.model)
        from tfgen.evaluation import metrics, report
    data, is_own = _data(options, card, model.image_shape)
    in_card = card.get("metrics", {})
    wanted = options.metric or [*in_card] or list(metrics.LIKELIHOOD)
    status = Console(stderr=True).status
    found = {}
    if {*metrics.LIKELIHOOD} & {*wanted}:
        with status(f"likelihood of {data.splits[options.split]:,} images"):
            found = metrics.likelihood(model, data, options.split)
    found = {name: metric for name, metric in found.items() if name in wanted}
    further = [name for name in wanted if name not in found]
    if is_own and options.split == "test":
        for name in further:
            num_samples = in_card.get(name, {}).get("protocol", {}).get("samples")
            with status(report.label(name)):
                found[name] = metrics.measure(name, model, data, num_samples)
    elif options.metric and further:
        raise InputError(f"--metric {further[0]} needs the test split of the model's training data")
    Console().print(report.table({"name": card["name"], "metrics": found}))


def _data(options, card, image_shape):
    """The data set to evaluate on, and whether the model was trained on it."""
    from tfgen import data
    from tfgen.zoo import trained_on

    own = card.get("recipe", {}).get("data", {}).get("source")
    source = options.data or own
    if source is None:
        raise InputError(f"the card of {options.model} names no training data: give --data")
    if source == own:
        found = trained_on.load(card, options.data_dir)
    else:
        found = data.load(source, data_dir=options.data_dir, image_shape=image_shape)
    if options.split not in found.splits:
        raise InputError(
            f"{source} has no split {options.split!r}; it has {', '.join(found.splits)}"
        )
    return found, source == own


def score_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen score`."""
    model_argument(parser)
    parser.add_argument("folder", metavar="FOLDER", help="folder of images, with its subfolders")
    parser.add_argument(
        "--num-samples",
        type=int,
        default=1,
        metavar="N",
        help="draws of a flow's dequantization noise, or importance samples of a VAE (default: 1)",
    )
    parser.add_argument("--out", metavar="FILE", help="a CSV file (default: the terminal)")


def score(options: argparse.Namespace) -> None:
    """Write a line per image: its file, log p(x) in nats, bits/dim and the estimator."""
    from tfgen import zoo

    out = None if options.out is None else output_file(options.out)
    with quiet_start():
        model = zoo.load(options.model)
        from tfgen.evaluation import folder_scores
        from tfgen.files import write_atomically
    scores = folder_scores.score_folder(model, options.folder, options.num_samples)
    if scores.resized:
        size = "x".join(map(str, model.image_shape[:2]))
        print(
            f"tfgen score: {len(scores.resized)} of {len(scores.rows)} images, such as "
            f"{scores.resized[0]}, were resized to {size}, which changes their likelihood",
            file=sys.stderr,
        )
    for path, reason in scores.unreadable:
        print(f"tfgen score: left out: {path}: {reason}", file=sys.stderr)
    if out is None:
        folder_scores.write_csv(sys.stdout, scores)
        return

    def write(path):
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            folder_scores.write_csv(file, scores)

    if _is_device(out):
        write(out)  # A device must not be replaced, and a message might be written to it.
        return
    write_atomically(Path(os.path.realpath(out)), write)
    print(f"{len(scores.rows)} images in {out}: {scores.bound}")


def _is_device(path):
    """Whether a path is that of a device or pipe, or names an open file of a process."""
    of_process = re.fullmatch(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+", str(path))
    return bool(of_process) or (path.exists() and not path.is_file())
