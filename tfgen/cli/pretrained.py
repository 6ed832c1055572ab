"""`tfgen zoo` and `tfgen fetch`."""

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from tfgen.cli.terminal import console, json_argument, print_json, print_table
from tfgen.errors import InputError
from tfgen.models import preset
from tfgen.zoo import places


def zoo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen zoo`."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="show the card of this model only"
    )
    json_argument(parser)


def zoo(options: argparse.Namespace) -> None:
    """List the models of the zoo, or print a model's README (its card if it has none)."""
    from tfgen import zoo

    if options.model:
        card = zoo.card(options.model)
        readme = zoo.directory(options.model) / "README.md"
        if options.json or not readme.exists():
            print_json(card)
        else:
            print(readme.read_text("utf-8"), end="")
        return
    entries = [_entry(name) for name in zoo.list()]
    if options.json:
        print_json(entries)
        return
    table = Table("model", "summary", "bits/dim", "parameters", box=None, pad_edge=False)
    for column in (0, 2, 3):
        table.columns[column].no_wrap = True
    for entry in entries:
        cells = [entry["error"]] if entry["error"] else _cells(entry)
        table.add_row(entry["name"], *map(Text, cells))
    print_table(table)


KEYS = ("version", "class", "summary", "image_shape", "latent_dim", "parameters", "bound")


def _entry(name):
    """What `tfgen zoo --json` says about a model."""
    from tfgen import zoo
    from tfgen.evaluation import report

    path = zoo.directory(name)
    found: dict[str, Any] = {"name": name, "directory": str(path), "error": None}
    try:
        card = zoo.card(name)
        found |= {key: card.get(key) for key in KEYS}
        found["version"] = places.version_of(path / preset.CARD)
        found["bits_per_dim"] = card.get("metrics", {}).get("bits_per_dim")
        if found["bits_per_dim"]:
            report.value(found["bits_per_dim"])
        f"{card.get('parameters', 0):,}"
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        text = str(error)
        if not isinstance(error, InputError | OSError):
            text = f"{path / preset.CARD} is damaged: {type(error).__name__}: {error}"
        found |= dict.fromkeys((*KEYS, "bits_per_dim")) | {"error": text}
    return found


def _cells(entry):
    from tfgen.evaluation import report

    bits = entry["bits_per_dim"]
    return [
        str(entry["summary"] or entry["class"] or ""),
        report.value(bits) if bits else "",
        f"{entry['parameters'] or 0:,}",
    ]


def fetch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen fetch`."""
    parser.add_argument(
        "source", metavar="SOURCE", help="http or https URL, or path, of a model's directory"
    )
    parser.add_argument("--sha256", metavar="DIGEST", help="expected digest of its card.json")
    json_argument(parser)


def fetch(options: argparse.Namespace) -> None:
    """Fetch, verify or repair a model; print its directory and the name that loads it."""
    from rich.progress import Progress

    from tfgen.zoo import fetching

    progress = console(stderr=True)
    with Progress(transient=True, console=progress, disable=not progress.is_terminal) as bar:
        tasks = {}

        def show(file, received, total):
            if file not in tasks:
                tasks[file] = bar.add_task(file)
            bar.update(tasks[file], completed=received, total=total)

        found = fetching.ensure(options.source, sha256=options.sha256, progress=show)
    path, repaired = found.directory, list(found.repaired)
    name = str(_shortest_name(path))
    if options.json:
        print_json(
            {
                "model": path.name,
                "directory": str(path),
                "name": name,
                "state": found.state,
                "repaired": repaired,
            }
        )
        return
    done = {
        "fetched": f"Fetched {path.name} to {path}",
        "verified": f"{path.name} is already in {path}, and its files have the digests of its card",
        "repaired": f"Repaired {path.name} in {path}: fetched {', '.join(repaired)} again",
    }
    print(f"{done[found.state]}; its name is {name}")


def _shortest_name(path: Path) -> str | Path:
    """The shortest name that loads a fetched model; other places may have one of the same name."""
    from tfgen import zoo

    name, _, _ = path.name.partition("@")
    return next((n for n in (name, path.name) if zoo.directory(n) == path), path)
