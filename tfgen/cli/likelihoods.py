"""`tfgen evaluate` and `tfgen score`."""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from tfgen import checks
from tfgen.cli.common import data_dir_argument, model_argument, output_file, quiet_start
from tfgen.cli.terminal import console, json_argument, print_json, print_table, say
from tfgen.errors import InputError
from tfgen.files import expanded, write_atomically


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
    json_argument(parser)


def evaluate(options: argparse.Namespace) -> None:
    """Measure the metrics of a card again, or the likelihood of other data."""
    from tfgen import zoo
    from tfgen.data import catalog

    card = zoo.card(options.model)
    name = card.get("name", options.model)
    own = card.get("recipe", {}).get("data", {}).get("source")
    source = own if options.data is None else options.data
    if source is None:
        raise InputError(f"the card of {options.model} names no training data: give --data")
    if source != own and "image_shape" in card:
        catalog.check_image_shape(source, card["image_shape"])
    with quiet_start():
        model = zoo.load(options.model)
        from tfgen.evaluation import report
    data = _data(options, card, source, source == own, model.image_shape)
    wanted = _wanted(options, card, model, data, source == own)
    found = _measured(options.split, card, model, data, wanted)
    if options.json:
        print_json({"model": name, "data": source, "split": options.split, "metrics": found})
    else:
        print_table(report.table({"name": name, "metrics": found}))


def _data(options, card, source, is_own, image_shape):
    """The data set to evaluate on."""
    from tfgen import data
    from tfgen.zoo import trained_on

    if is_own:
        found = trained_on.load(card, options.data_dir)
    else:
        found = data.load(source, data_dir=options.data_dir, image_shape=image_shape)
    if options.split not in found.splits:
        raise InputError(
            f"{source} has no split {options.split!r}; it has {', '.join(found.splits)}"
            f"{checks.did_you_mean(options.split, found.splits)}"
        )
    return found


def _wanted(options, card, model, data, is_own):
    """The names of the metrics to measure: all of them can be."""
    from tfgen.evaluation import metrics

    wanted = options.metric or [*card.get("metrics", {})] or list(metrics.LIKELIHOOD)
    wanted = list(dict.fromkeys(wanted))
    for name in options.metric or ():
        metrics.check_name(name, model, data)
    further = [name for name in wanted if name not in metrics.LIKELIHOOD]
    if is_own and options.split == "test":
        return wanted
    if options.metric and further:
        raise InputError(f"--metric {further[0]} needs the test split of the model's training data")
    return [name for name in wanted if name not in further]


def _measured(split, card, model, data, wanted):
    from tfgen.evaluation import metrics, report

    status = console(stderr=True).status
    found: dict[str, Any] = {}
    for name in wanted:
        if name in metrics.LIKELIHOOD:
            if name not in found:
                with status(f"likelihood of {data.splits[split]:,} images"):
                    found |= metrics.likelihood(model, data, split)
        else:
            entry = card.get("metrics", {}).get(name, {})
            with status(report.label(name)):
                num_samples = entry.get("protocol", {}).get("samples")
                found[name] = metrics.measure(name, model, data, num_samples)
    return {name: found[name] for name in wanted}


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
    json_argument(parser)


def score(options: argparse.Namespace) -> None:
    """Write a line per image: its file, log p(x) in nats, bits/dim and the estimator."""
    from tfgen import zoo

    zoo.card(options.model)
    checks.integer("--num-samples", options.num_samples, 1)
    if not expanded(options.folder).is_dir():
        raise InputError(f"{options.folder} is not a directory; give a folder of images")
    out = None if options.out is None else output_file(options.out)
    with quiet_start():
        model = zoo.load(options.model)
        from tfgen.evaluation import folder_scores
    scores = folder_scores.score_folder(model, options.folder, options.num_samples)
    if scores.resized:
        size = "x".join(map(str, model.image_shape[:2]))
        say(
            f"tfgen score: {len(scores.resized)} of {len(scores.rows)} images, such as "
            f"{scores.resized[0]}, were resized to {size}, which changes their likelihood"
        )
    for path, reason in scores.unreadable:
        say(f"tfgen score: left out: {path}: {reason}")
    if out is not None:
        _write(out, scores)
    if options.json:
        print_json(_as_json(options, scores))
    elif out is None:
        folder_scores.write_csv(sys.stdout, scores)
    elif not _is_device(out):  # A message might be written to it.
        print(f"{len(scores.rows)} images in {out}: {scores.bound}")


def _write(out, scores):
    from tfgen.evaluation import folder_scores

    def write(path):
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            folder_scores.write_csv(file, scores)

    if _is_device(out):
        write(out)  # A device must not be replaced.
    else:
        write_atomically(Path(os.path.realpath(out)), write)


def _as_json(options, scores):
    keys = ("file", "log_prob", "bits_per_dim")
    return {
        "model": options.model,
        "folder": options.folder,
        "estimator": scores.bound,
        "images": [dict(zip(keys, row, strict=True)) for row in scores.rows],
        "resized": scores.resized,
        "left_out": [{"file": path, "reason": reason} for path, reason in scores.unreadable],
    }


def _is_device(path):
    """Whether a path is that of a device or pipe, or names an open file of a process."""
    of_process = re.fullmatch(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+", str(path))
    return bool(of_process) or (path.exists() and not path.is_file())
