"""`tfgen train`, which is `tfgen-train`."""

import argparse
import contextlib
import dataclasses
import shlex
import time

from rich.table import Table
from rich.text import Text

from tfgen.cli.common import data_dir_argument, quiet_start
from tfgen.cli.terminal import console, json_argument, print_json, print_table
from tfgen.errors import InputError


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen train`."""
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="name of a recipe, or a .yaml file"
    )
    parser.add_argument("--list", action="store_true", help="list the recipes and data sets")
    parser.add_argument("--data", metavar="SOURCE", help="data set name, or folder of images")
    data_dir_argument(parser)
    parser.add_argument(
        "--out", metavar="DIR", help="run directory to create (default: runs/RECIPE-001, ...)"
    )
    parser.add_argument(
        "--initial",
        metavar="MODEL",
        help="start from the weights of a pretrained model or run with the recipe's architecture",
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume the interrupted run in --out DIR"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print parameters, memory and steps without training",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="override values of the recipe, such as optimizer.learning_rate=3e-4",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the training split")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of all random numbers")
    parser.add_argument(
        "--strategy",
        metavar="NAME",
        help="auto (default), single, mirrored, or multi_worker with TF_CONFIG",
    )
    parser.add_argument(
        "--devices",
        metavar="KIND:N",
        help="gpu:N, or cpu:N for N logical CPU devices (default: all GPUs)",
    )
    json_argument(parser)


def train(options: argparse.Namespace) -> None:
    """Train the model of a recipe, resume a run, or list the recipes."""
    begun = time.monotonic()
    from tfgen import zoo
    from tfgen.training import recipe

    if options.list:
        _list_recipes(options)
        return
    if options.resume:
        _resume(options)
        return
    if options.recipe is None:
        raise InputError("no RECIPE given (it must come before --set); --list shows the recipes")
    values = {
        "data.source": options.data,
        "training.epochs": options.epochs,
        "training.seed": options.seed,
    }
    values = {key: value for key, value in values.items() if value is not None}
    initial = None
    if options.initial is not None:
        zoo.card(options.initial)
        initial = zoo.directory(options.initial)
    # A key that the recipe does not have is looked up in the arguments of the model's class.
    with quiet_start() if options.set else contextlib.nullcontext():
        chosen = recipe.load(options.recipe, options.set, values)
    with quiet_start():
        from tfgen.training import run

    arguments = {
        "data_dir": options.data_dir,
        "initial": initial,
        "strategy": options.strategy or "auto",
        "devices": options.devices,
        "console": _console(options),
    }
    if options.dry_run:
        plan = run.dry_run(chosen, **arguments)
        if options.json:
            memory = {**dataclasses.asdict(plan.memory), "total": plan.memory.total}
            print_json({**plan._asdict(), "memory": memory})
        return
    directory = run.train(chosen, options.out, command=_command(options), begun=begun, **arguments)
    _report(options, directory)


def _console(options):
    """Where progress is printed: with --json, stdout has the result alone."""
    return console(stderr=options.json)


def _resume(options):
    given = [options.recipe, options.data, options.initial, options.epochs, options.seed]
    given += options.set
    if options.dry_run or any(value is not None for value in given):
        raise InputError(
            "--resume uses the recipe of the run: omit RECIPE, --set, --data, --initial, "
            "--epochs, --seed and --dry-run"
        )
    if options.out is None:
        raise InputError("--resume needs the run's directory: --out DIR")
    with quiet_start():
        from tfgen.training import run
    directory = run.resume(
        options.out,
        data_dir=options.data_dir,
        strategy=options.strategy,
        devices=options.devices,
        console=_console(options),
    )
    _report(options, directory)


def _report(options, directory):
    if directory is None:  # This process is not the chief worker.
        return
    from tfgen import zoo
    from tfgen.evaluation import report

    card = zoo.card(directory)
    if options.json:
        print_json({"directory": str(directory), "name": card["name"], "metrics": card["metrics"]})
        return
    print_table(report.table(card))
    console().print(Text(f"Saved in {directory}"), soft_wrap=True)


def _command(options):
    """The command line, without the options that do not change the result, such as --out."""
    words = ["tfgen-train", options.recipe]
    for flag in ("data", "initial", "epochs", "seed", "devices"):
        value = getattr(options, flag)
        if value is not None:
            words += [f"--{flag}", str(value)]
    if options.strategy:
        words += ["--strategy", options.strategy]
    if options.set:
        words += ["--set", *options.set]
    return shlex.join(words)


def _described(recipe):
    """A recipe's model, and what its training takes."""
    return f"{recipe.summary}; training takes {recipe.cost}" if recipe.cost else recipe.summary


def _list_recipes(options):
    from tfgen import data
    from tfgen.training import recipe

    recipes = {name: _described(recipe.load(name)) for name in recipe.names()}
    sources = {name: data.describe(name) for name in data.names()}
    if options.json:
        listed = [{"name": name, "summary": summary} for name, summary in recipes.items()]
        data_sets = [{"name": name, "content": content} for name, content in sources.items()]
        print_json({"recipes": listed, "data": data_sets})
        return
    for number, (heads, rows) in enumerate(
        [(("recipe", "model"), recipes), (("data set", "content"), sources)]
    ):
        table = Table(*heads, box=None, pad_edge=False)
        table.columns[0].no_wrap = True
        for row in rows.items():
            table.add_row(*row)
        if number:
            print()
        print_table(table)
