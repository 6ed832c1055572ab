"""`tfgen train`, which is `tfgen-train`."""

import argparse
import contextlib
import shlex

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfgen.cli.common import data_dir_argument, quiet_start
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


def train(options: argparse.Namespace) -> None:
    """Train the model of a recipe, resume a run, or list the recipes."""
    from tfgen.training import recipe

    if options.list:
        _list_recipes()
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
    # A key that the recipe does not have is looked up in the arguments of the model's class.
    with quiet_start() if options.set else contextlib.nullcontext():
        chosen = recipe.load(options.recipe, options.set, values)
    with quiet_start():
        from tfgen import zoo
        from tfgen.training import run

    console = Console()
    initial = None if options.initial is None else zoo.directory(options.initial)
    if options.dry_run:
        run.dry_run(
            chosen,
            data_dir=options.data_dir,
            initial=initial,
            strategy=options.strategy or "auto",
            devices=options.devices,
            console=console,
        )
        return
    directory = run.train(
        chosen,
        options.out,
        data_dir=options.data_dir,
        initial=initial,
        strategy=options.strategy or "auto",
        devices=options.devices,
        command=_command(options),
        console=console,
    )
    _report(console, directory)


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
    console = Console()
    directory = run.resume(
        options.out,
        data_dir=options.data_dir,
        strategy=options.strategy,
        devices=options.devices,
        console=console,
    )
    _report(console, directory)


def _report(console, directory):
    if directory is None:  # This process is not the chief worker.
        return
    from tfgen import zoo
    from tfgen.evaluation import report

    console.print(report.table(zoo.card(directory)))
    console.print(Text(f"Saved in {directory}"), soft_wrap=True)


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


def _list_recipes():
    from tfgen import data
    from tfgen.training import recipe

    recipes = Table("recipe", "model", box=None, pad_edge=False)
    for name in recipe.names():
        recipes.add_row(name, recipe.load(name).summary)
    sources = Table("data set", "content", box=None, pad_edge=False)
    for name in data.names():
        sources.add_row(name, data.describe(name))
    console = Console()
    console.print(recipes)
    console.print()
    console.print(sources)
