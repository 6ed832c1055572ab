"""The command line: `tfgen` and `tfgen-train`.

Parsing, `--help` and listings do without TensorFlow, which takes seconds to import.
"""

import argparse
import contextlib
import os
import re
import shlex
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tfgen.errors import InputError


def main(arguments=None):
    """The `tfgen` command."""
    parser = argparse.ArgumentParser(
        prog="tfgen", description="Likelihood-based generative models to train, trust and serve."
    )
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
    try:
        options.run(options)
    except InputError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # The reader of a pipe, such as head, has had enough.
        sys.stdout = None
        return 141
    except OSError as error:  # A disk, a permission, a path: nothing that a traceback explains.
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _let_sigterm_clean_up():
    """SIGTERM ends the command as an exception does, so that nothing half-written is left."""

    def stop(number, frame):
        sys.exit(128 + number)

    with contextlib.suppress(ValueError):  # Only the main thread may.
        signal.signal(signal.SIGTERM, stop)


def _train_arguments(parser):
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name, or a .yaml file")
    parser.add_argument("--list", action="store_true", help="list the recipes and data sets")
    parser.add_argument("--data", metavar="SOURCE", help="a data set's name, or a folder of images")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where local data sets lie (default: $TFGEN_DATA)"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="the run directory to make (default: runs/RECIPE-001, ...)"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="replace values of the recipe, such as optimizer.learning_rate=3e-4",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the training split")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random")
    parser.add_argument(
        "--strategy",
        default="auto",
        metavar="NAME",
        help="auto (mirror if there are several devices), single or mirrored",
    )
    parser.add_argument(
        "--devices", metavar="KIND:N", help="gpu:N, or cpu:N to split the CPU (default: all GPUs)"
    )


def _train(options):
    from tfgen.training import recipe

    if options.list:
        _list_recipes()
        return
    if options.recipe is None:
        raise InputError("which RECIPE? --list shows them; it stands before --set")
    values = {
        "data.source": options.data,
        "training.epochs": options.epochs,
        "training.seed": options.seed,
    }
    values = {key: value for key, value in values.items() if value is not None}
    chosen = recipe.load(options.recipe, options.set, values)
    with _quiet_start():
        from tfgen.training import report, run
    from tfgen import zoo

    console = Console()
    directory = run.run(
        chosen,
        options.out,
        data_dir=options.data_dir,
        strategy=options.strategy,
        devices=options.devices,
        command=_command(options),
        console=console,
    )
    console.print(report.table(zoo.card(directory)))
    console.print(f"Saved in {directory}", soft_wrap=True, highlight=False)


def _command(options):
    """The command again, less what does not change its result: where it writes."""
    words = ["tfgen-train", options.recipe]
    for flag in ("data", "epochs", "seed", "devices"):
        value = getattr(options, flag)
        if value is not None:
            words += [f"--{flag}", str(value)]
    if options.strategy != "auto":
        words += ["--strategy", options.strategy]
    if options.set:
        words += ["--set", *options.set]
    return shlex.join(words)


def _list_recipes():
    from tfgen import data
    from tfgen.training import recipe

    recipes = Table("recipe", "what it trains", box=None, pad_edge=False)
    for name in recipe.names():
        recipes.add_row(name, recipe.load(name).summary)
    sources = Table("data set", "what it holds", box=None, pad_edge=False)
    for name in data.names():
        sources.add_row(name, data.describe(name))
    console = Console()
    console.print(recipes)
    console.print()
    console.print(sources)


def _evaluate_arguments(parser):
    _model_argument(parser)
    parser.add_argument("--data", metavar="SOURCE", help="default: the data that it was trained on")
    parser.add_argument("--data-dir", metavar="DIR", help="where local data sets lie")
    parser.add_argument("--split", default="test", help="default: test")


def _evaluate(options):
    from tfgen import zoo

    card = zoo.card(options.model)
    with _quiet_start():
        model = zoo.load(options.model)
        from tfgen import data
        from tfgen.training import report
        from tfgen.training.evaluation import evaluate
    trained_on = card.get("recipe", {}).get("data", {})
    source = options.data or trained_on.get("source")
    if source is None:
        raise InputError(f"the card of {options.model} names no data: give --data")
    chosen = data.load(
        source,
        data_dir=options.data_dir,
        image_shape=model.image_shape,
        options=trained_on.get("options") if source == trained_on.get("source") else None,
    )
    if trained_on.get("validation") and source == trained_on["source"]:
        chosen = chosen.holding_out(trained_on["validation"])
    if options.split not in chosen.splits:
        raise InputError(
            f"{source} has no split {options.split!r}; it has {', '.join(chosen.splits)}"
        )
    metrics = evaluate(model, chosen, options.split)
    Console().print(report.table({"name": card["name"], "metrics": metrics}))


def _sample_arguments(parser):
    _model_argument(parser)
    parser.add_argument("--temperature", type=float, default=1.0, help="default: 1")
    parser.add_argument("--seed", type=int, help="of the noise (default: another each time)")
    parser.add_argument(
        "--grid", default="8x8", metavar="ROWSxCOLUMNS", help="images in the picture (default: 8x8)"
    )
    parser.add_argument("--out", default="samples.png", metavar="FILE", help="a picture's file")


def _sample(options):
    from tfgen import zoo

    rows, columns = _grid(options.grid)
    out = _picture_file(options.out)
    with _quiet_start():
        model = zoo.load(options.model)
        from tfgen.models.preset import write_atomically
        from tfgen.training import pictures
    images = model.sample(rows * columns, temperature=options.temperature, seed=options.seed)
    picture = pictures.grid(images, columns=columns)
    write_atomically(out, lambda path: picture.save(path))
    print(f"{rows * columns} samples in {out}")


def _grid(text):
    match = re.fullmatch(r"([1-9][0-9]{0,2})x([1-9][0-9]{0,2})", text)
    if not match:
        raise InputError(f"--grid must be ROWSxCOLUMNS, such as 8x8, up to 999, got {text!r}")
    return int(match[1]), int(match[2])


def _picture_file(name):
    from PIL import Image

    path = Path(name)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise InputError(f"--out {name}: unknown kind of picture; .png and .jpg work")
    if not path.parent.is_dir():
        raise InputError(f"--out {name}: there is no directory {path.parent}")
    return path


def _export_arguments(parser):
    _model_argument(parser)
    parser.add_argument(
        "out", metavar="OUT", help="a directory for SavedModels, or a file that ends in .tflite"
    )
    parser.add_argument("--version", type=int, metavar="N", help="of a SavedModel (default: next)")


def _export(options):
    from tfgen import zoo

    zoo.card(options.model)
    with _quiet_start():
        from tfgen import export
    if options.out.lower().endswith(".tflite"):
        if options.version is not None:
            raise InputError("--version is for SavedModels; a TFLite file has none")
        path = export.tflite(options.model, options.out)
    else:
        path = export.saved_model(options.model, options.out, version=options.version)
    print(f"Exported to {path}")


def _zoo_arguments(parser):
    parser.add_argument("model", nargs="?", metavar="MODEL", help="show the card of one model")


def _zoo(options):
    from tfgen import zoo
    from tfgen.training import report

    console = Console()
    if options.model:
        card = zoo.card(options.model)
        readme = zoo.directory(options.model) / "README.md"
        if readme.exists():
            print(readme.read_text("utf-8"), end="")
        else:
            console.print_json(data=card)
        return
    table = Table("model", "what it is", "bits/dim", "parameters", box=None, pad_edge=False)
    for name in zoo.list():
        card = zoo.card(name)
        bits = card["metrics"]["bits_per_dim"]
        table.add_row(name, card["summary"], report.value(bits), f"{card['parameters']:,}")
    console.print(table)


def _model_argument(parser):
    parser.add_argument("model", metavar="MODEL", help="a pretrained name, or a run directory")


@contextlib.contextmanager
def _quiet_start():
    """TensorFlow reports on its start to the process' stderr, past every log level: not shown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf

        tf.config.list_physical_devices()
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


COMMANDS = {
    "train": (_train_arguments, _train, "Train the model of a recipe and save it."),
    "evaluate": (_evaluate_arguments, _evaluate, "Measure a model on a split of a data set."),
    "sample": (_sample_arguments, _sample, "Draw a grid of samples."),
    "export": (_export_arguments, _export, "Write a SavedModel or a TFLite file."),
    "zoo": (_zoo_arguments, _zoo, "List the pretrained models, or show the card of one."),
}

if __name__ == "__main__":
    sys.exit(main())
