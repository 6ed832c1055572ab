"""`tfgen zoo` and `tfgen fetch`."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfgen.errors import InputError


def zoo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen zoo`."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="show the card of this model only"
    )


def zoo(options: argparse.Namespace) -> None:
    """List the models of the zoo, or print a model's README (its card if it has none)."""
    from tfgen import zoo

    console = Console()
    if options.model:
        card = zoo.card(options.model)
        readme = zoo.directory(options.model) / "README.md"
        if readme.exists():
            print(readme.read_text("utf-8"), end="")
        else:
            console.print_json(data=card)
        return
    table = Table("model", "summary", "bits/dim", "parameters", box=None, pad_edge=False)
    for name in zoo.list():
        try:
            cells = _cells(name)
        except (InputError, OSError) as error:
            cells = [str(error)]
        table.add_row(name, *map(Text, cells))
    console.print(table)


def _cells(name):
    from tfgen import zoo
    from tfgen.evaluation import report

    card = zoo.card(name)
    try:
        bits = card.get("metrics", {}).get("bits_per_dim")
        return [
            str(card.get("summary", card.get("class", ""))),
            report.value(bits) if bits else "",
            f"{card.get('parameters', 0):,}",
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        path = zoo.directory(name) / "card.json"
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def fetch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen fetch`."""
    parser.add_argument(
        "source", metavar="SOURCE", help="http or https URL, or path, of a model's directory"
    )
    parser.add_argument("--sha256", metavar="DIGEST", help="expected digest of its card.json")


def fetch(options: argparse.Namespace) -> None:
    """Fetch a model and print its directory and the name that loads it."""
    from rich.progress import Progress

    from tfgen import zoo

    with Progress(transient=True) as bar:
        tasks = {}

        def show(file, received, total):
            if file not in tasks:
                tasks[file] = bar.add_task(file)
            bar.update(tasks[file], completed=received, total=total)

        path = zoo.fetch(options.source, sha256=options.sha256, progress=show)
    print(f"Fetched {path.name} to {path}; its name is {_shortest_name(path)}")


def _shortest_name(path: Path) -> str | Path:
    """The shortest name that loads a fetched model; other places may have one of the same name."""
    from tfgen import zoo

    name, _, _ = path.name.partition("@")
    return next((n for n in (name, path.name) if zoo.directory(n) == path), path)
