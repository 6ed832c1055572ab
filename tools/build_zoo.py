"""Trains pretrained models of the zoo by the command in their cards and puts them in place.

python tools/build_zoo.py vae-digits glow-digits
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

ZOO = Path(__file__).resolve().parent.parent / "zoo"


def build(name):
    """Trains the recipe of this name; takes over what its card lists, and no logs."""
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / name
        subprocess.run(["tfgen-train", name, "--out", str(run)], check=True)
        card = json.loads((run / "card.json").read_text())
        target = ZOO / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for file in [*card["files"], "card.json"]:
            shutil.copyfile(run / file, target / file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="of a recipe")
    for name in parser.parse_args().names:
        build(name)
