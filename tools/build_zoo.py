"""Trains models with the recipes of the same names and adds them to the zoo.

    python tools/build_zoo.py vae-digits glow-digits
    python tools/build_zoo.py glow-mnist --run runs/glow-mnist-001

With --run, a finished run directory is used instead of a new run. The additional metrics of the
model (`tfgen.evaluation.metrics`), the temperature for samples and the reference for
`tfgen.zoo.checking` are computed and written to the card. --remeasure measures every metric of
models of the zoo again and writes their cards; --check-only adds only the reference; --readme-only
only writes their README.md again.

--new-version keeps the current model as NAME@VERSION; the new model gets the next version.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import tfgen
from tfgen.evaluation import metrics, pictures, report, temperature
from tfgen.files import read_json, write_json, write_text
from tfgen.models import preset
from tfgen.zoo import checking, places, trained_on

ZOO = Path(__file__).resolve().parent.parent / "zoo"


def build(name, run=None, new_version=False, data_dir=None, wanted=None, num_samples=None):
    """Train the recipe of this name, or copy the files that the card of a run lists."""
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
        finish(ready, card, data_dir, wanted, num_samples)
        put(ready, name, new_version)


def finish(directory, card, data_dir=None, wanted=None, num_samples=None):
    """Measure the additional metrics and the reference of the check; write card and README."""
    write_json(directory / preset.CARD, card)
    model = preset.load(directory)
    data = trained_on.load(card, data_dir)
    chosen = metrics.further_names(model, data) if wanted is None else wanted
    card["metrics"] |= {name: metrics.measure(name, model, data, num_samples) for name in chosen}
    card["sampling"] = temperature.entry(temperature.distances(model, data), data)
    value = report.temperature(card)
    pictures.samples(model, temperature=value).save(directory / "samples.png")
    write_text(directory / "README.md", report.readme(card))
    add_check(model, data, directory, card)


def remeasure(directory, card, data_dir=None):
    """Measure the metrics of the card again, with its numbers of samples, and the reference."""
    model, data = preset.load(directory), trained_on.load(card, data_dir)
    found = metrics.likelihood(model, data, "test")
    for name, metric in card["metrics"].items():
        if name not in found:
            found[name] = metrics.measure(name, model, data, metric["protocol"]["samples"])
    card["metrics"] = {name: found[name] for name in card["metrics"]}
    card["bound"] = model.bound
    write_text(directory / "README.md", report.readme(card))
    add_check(model, data, directory, card)


def add_check(model, data, directory, card):
    """Write `golden.png`, the entry `check`, and the card with every digest."""
    checking.write_golden(model, directory)
    card["check"] = checking.entry(model, data.images("test")[: checking.NUM_IMAGES])
    card["files"][checking.GOLDEN] = ""
    write_card(directory, card)


def write_card(directory, card):
    """Write a card with the digests and sizes of its files."""
    card |= preset.described(directory / file for file in sorted(card["files"]))
    write_json(directory / preset.CARD, card)


def put(ready, name, new_version):
    """Copy a directory into the zoo, as the model of this name."""
    target = ZOO / name
    card = read_json(ready / preset.CARD)
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
    parser.add_argument("names", nargs="+", metavar="NAME", help="name of a recipe")
    parser.add_argument("--run", type=Path, metavar="DIR", help="use this finished run")
    parser.add_argument("--new-version", action="store_true", help="keep the current version too")
    parser.add_argument(
        "--check-only", action="store_true", help="add only the reference of the check"
    )
    parser.add_argument("--remeasure", action="store_true", help="measure every metric again")
    parser.add_argument("--readme-only", action="store_true", help="write only README.md again")
    parser.add_argument(
        "--metrics", nargs="*", metavar="NAME", help="additional metrics (default: all)"
    )
    parser.add_argument(
        "--num-samples",
        type=int,
        metavar="K",
        help="samples of the tighter bound (default: the model's num_tight_samples)",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="directory of the local data sets")
    options = parser.parse_args()
    if options.run and len(options.names) != 1:
        parser.error("--run needs exactly one NAME")
    for name in options.names:
        directory = ZOO / name
        if options.remeasure:
            remeasure(directory, tfgen.zoo.card(directory), options.data_dir)
        elif options.check_only:
            card = tfgen.zoo.card(directory)
            data = trained_on.load(card, options.data_dir)
            add_check(preset.load(directory), data, directory, card)
        elif options.readme_only:
            card = tfgen.zoo.card(directory)
            write_text(directory / "README.md", report.readme(card))
            write_card(directory, card)
        else:
            build(
                name,
                options.run,
                options.new_version,
                options.data_dir,
                options.metrics,
                options.num_samples,
            )


if __name__ == "__main__":
    main()
