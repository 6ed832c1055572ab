"""Trains pretrained models of the zoo by the recipes of their names and puts them in place.

    python tools/build_zoo.py vae-digits glow-digits
    python tools/build_zoo.py glow-mnist --run runs/glow-mnist-001

With --run, a finished run directory is taken over instead. The further figures of its kind
(`tfgen.evaluation.figures`) are measured and written into the card, and so is what
`tfgen.zoo.checking` compares with. --check-only adds the latter to models that are in place.

--new-version keeps the present model as NAME@VERSION and makes the new one the next version.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import tfgen
from tfgen.evaluation import figures, report
from tfgen.files import sha256, write_json
from tfgen.models import preset
from tfgen.zoo import checking, places, trained_on

ZOO = Path(__file__).resolve().parent.parent / "zoo"


def build(name, run=None, new_version=False, data_dir=None, wanted=None, samples=None):
    """Trains the recipe of this name, or takes a run over: what its card lists, and no logs."""
    with tempfile.TemporaryDirectory(dir=ZOO.parent) as directory:
        if run is None:
            run = Path(directory) / "run" / name
            command = ["tfgen-train", name, "--out", str(run)]
            subprocess.run(command + (["--data-dir", data_dir] if data_dir else []), check=True)
        card = tfgen.zoo.card(run)
        ready = Path(directory) / name
        ready.mkdir()
        for file in card["files"]:
            shutil.copyfile(run / file, ready / file)
        card["name"] = name
        finish(ready, card, data_dir, wanted, samples)
        put(ready, name, new_version)


def finish(directory, card, data_dir=None, wanted=None, samples=None):
    """Measures the further figures and the check, and writes card and README."""
    write_json(directory / preset.CARD, card)
    model = preset.load(directory)
    data = trained_on.load(card, data_dir)
    chosen = figures.names(model, data) if wanted is None else wanted
    card["metrics"] |= {name: figures.measure(name, model, data, samples) for name in chosen}
    (directory / "README.md").write_text(report.readme(card), "utf-8")
    add_check(model, data, directory, card)


def add_check(model, data, directory, card):
    """Writes `golden.png`, the entry `check`, and the card with every digest."""
    checking.write_golden(model, directory)
    card["check"] = checking.entries(model, data.images("test")[: checking.IMAGES])
    files = sorted({*card["files"], checking.GOLDEN})
    card["files"] = {file: sha256(directory / file) for file in files}
    write_json(directory / preset.CARD, card)


def put(ready, name, new_version):
    """Makes a directory the model of this name."""
    target = ZOO / name
    card = json.loads((ready / preset.CARD).read_text("utf-8"))
    present = places.version_of(target / preset.CARD)
    if new_version and target.is_dir():
        shutil.move(target, ZOO / f"{name}@{present}")
        present += 1
    if present > 1:
        card["version"] = present
        write_json(ready / preset.CARD, card)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ready, target)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{name}@{present}: {size / 1e6:.2f} MB in {target}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="of a recipe")
    parser.add_argument("--run", type=Path, metavar="DIR", help="take over this finished run")
    parser.add_argument("--new-version", action="store_true", help="keep the present version too")
    parser.add_argument("--check-only", action="store_true", help="add what is compared with")
    parser.add_argument(
        "--figures", nargs="*", metavar="FIGURE", help="the further ones (default: all there are)"
    )
    parser.add_argument(
        "--samples",
        type=int,
        metavar="K",
        help="of the importance-weighted bound (default: those of tfgen.evaluation.figures)",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where local data sets lie")
    options = parser.parse_args()
    if options.run and len(options.names) != 1:
        parser.error("--run goes with one NAME")
    for name in options.names:
        if options.check_only:
            card, directory = tfgen.zoo.card(ZOO / name), ZOO / name
            data = trained_on.load(card, options.data_dir)
            add_check(preset.load(directory), data, directory, card)
        else:
            build(
                name,
                options.run,
                options.new_version,
                options.data_dir,
                options.figures,
                options.samples,
            )


if __name__ == "__main__":
    main()
