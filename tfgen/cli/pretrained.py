"""`tfgen zoo` and `tfgen fetch`."""

from rich.console import Console
from rich.table import Table


def zoo_arguments(parser):
    parser.add_argument("model", nargs="?", metavar="MODEL", help="show the card of one model")


def zoo(options):
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
        bits = card.get("metrics", {}).get("bits_per_dim")
        table.add_row(
            name,
            card.get("summary", card.get("class", "")),
            report.value(bits) if bits else "",
            f"{card.get('parameters', 0):,}",
        )
    console.print(table)


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
    print(f"Fetched {path.name} to {path}")
