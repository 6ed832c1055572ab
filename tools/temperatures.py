"""Measures the temperature at which a model's samples are closest to test images.

    python tools/temperatures.py glow-mnist vae-mnist
    python tools/temperatures.py runs/mine --write --pictures mine.png

Prints the Fréchet distance of random features (`tfgen.evaluation.temperature`) at each temperature,
and the share of empty samples, whose pixels are all alike. With --write, the temperature with the
smallest distance becomes the recommended one of the card; samples.png is drawn again at it, and
README.md and the digests are renewed. With --pictures, a row of samples per temperature is written.
"""

import argparse

import numpy as np

import tfgen
from tfgen.evaluation import pictures, report, temperature
from tfgen.files import sha256, write_json, write_text
from tfgen.models import preset
from tfgen.zoo import trained_on

# An image counts as empty if the standard deviation of its pixel values (0 to 255) is below this.
EMPTY_DEVIATION = 4.0


def share_of_empty(images):
    """The share of images whose pixels are nearly equal, which show no shape."""
    images = np.asarray(images, "float32")
    return float(np.mean(images.reshape(len(images), -1).std(axis=1) < EMPTY_DEVIATION))


def write(directory, card, model):
    """Write the card with its samples and README."""
    value = report.temperature(card)
    if "samples" in card.get("pictures", ()):
        pictures.samples(model, temperature=value).save(directory / "samples.png")
    write_text(directory / "README.md", report.readme(card))
    card["files"] = {file: sha256(directory / file) for file in sorted(card["files"])}
    write_json(directory / preset.CARD, card)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="pretrained model or run")
    parser.add_argument("--write", action="store_true", help="write the result into the card")
    parser.add_argument("--num-samples", type=int, default=temperature.NUM_SAMPLES, metavar="N")
    parser.add_argument("--pictures", metavar="FILE", help="samples, one row per temperature")
    parser.add_argument("--data-dir", metavar="DIR", help="directory of the local data sets")
    options = parser.parse_args()
    for name in options.models:
        model, card = tfgen.zoo.load(name), tfgen.zoo.card(name)
        data = trained_on.load(card, options.data_dir)
        found = temperature.distances(model, data, num_samples=options.num_samples)
        for value, distance in found.items():
            empty = share_of_empty(model.sample(options.num_samples, value, seed=0))
            print(f"{name} {value:g}: distance {distance:.3f}, empty {empty:.1%}", flush=True)
        card["sampling"] = temperature.entry(found, data)
        print(f"{name}: {card['sampling']['temperature']:g}", flush=True)
        if options.pictures:
            pictures.temperatures(model, [*found], columns=12).save(options.pictures)
        if options.write:
            write(tfgen.zoo.directory(name), card, model)


if __name__ == "__main__":
    main()
