"""`tfgen zoo` and `tfgen fetch`."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfgen.errors import InputError


def zoo_arguments(parser):
    parser.add_argument("model", nargs="?", metavar="MODEL", help="show the card of one model")


def zoo(options):
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
    table = Table("model", "what it is", "bits/dim", "parameters", box=None, pad_edge=False)
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


def fetch_arguments(parser):
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="the http or https address, or the path, of a model's folder",
    )
    parser.add_argument("--sha256", metavar="DIGEST", help="of its card.json, to be verified")


def fetch(options):
    from rich.progress import Progress

    from tfgen import zoo

    with Progress(transient=True) as bar:
        tasks = {}

        def show(file, there, total):
            if file not in tasks:
                tasks[file] = bar.add_task(file)
            bar.update(tasks[file], completed=there, total=total)

        path = zoo.fetch(options.source, sha256=options.sha256, progress=show)
    print(f"Fetched {path.name} to {path}; its name is {_shortest_name(path)}")


def _shortest_name(path):
    """What to call a fetched model: other places may have another one of its name."""
    from tfgen import zoo

    name, _, _ = path.name.partition("@")
    return next((n for n in (name, path.name) if zoo.directory(n) == path), path)
