"""`tfgen sample` and `tfgen interpolate`."""

import argparse
import os
import re
from pathlib import Path

from tfgen import checks
from tfgen.cli.common import model_argument, output_file, quiet_start
from tfgen.cli.terminal import json_argument, print_json
from tfgen.errors import InputError


def sample_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen sample`."""
    model_argument(parser)
    parser.add_argument(
        "--temperature", type=float, help="temperature (default: the one that the card recommends)"
    )
    parser.add_argument("--seed", type=int, help="seed of the noise (default: random)")
    parser.add_argument(
        "--label",
        type=int,
        metavar="N",
        help="class, for a class-conditional model (default: each class in turn)",
    )
    parser.add_argument(
        "--grid", default="8x8", metavar="ROWSxCOLUMNS", help="size of the grid (default: 8x8)"
    )
    parser.add_argument(
        "--out", default="samples.png", metavar="FILE", help="image file (default: samples.png)"
    )
    json_argument(parser)


def sample(options: argparse.Namespace) -> None:
    """Write a grid of samples."""
    from tfgen import zoo

    temperature = _temperature(options, zoo.card(options.model))
    _check_noise(temperature, options.seed)
    rows, columns = _grid(options.grid)
    out = _picture_file(options.out)
    with quiet_start():
        model = zoo.load(options.model)
        from tfgen.evaluation import pictures
    if options.label is not None and not model.num_classes:
        raise InputError(f"--label: {options.model} has no classes")
    images = model.sample(rows * columns, temperature, options.seed, options.label)
    picture = pictures.grid(images, columns=columns)
    facts = {
        "rows": rows,
        "columns": columns,
        "temperature": temperature,
        "seed": options.seed,
        "label": options.label,
    }
    text = f"{rows * columns} samples at temperature {temperature:g}"
    _write(options, picture, out, text, facts)


def interpolate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen interpolate`."""
    model_argument(parser)
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="two files, or several pairs (default: --rows pairs of samples)",
    )
    parser.add_argument(
        "--steps", type=int, default=8, metavar="N", help="images per row (default: 8)"
    )
    parser.add_argument("--rows", type=int, metavar="N", help="pairs of samples (default: 4)")
    parser.add_argument(
        "--temperature", type=float, help="temperature of the samples (default: that of the card)"
    )
    parser.add_argument("--seed", type=int, help="seed of their noise (default: random)")
    parser.add_argument(
        "--out",
        default="interpolation.png",
        metavar="FILE",
        help="image file (default: interpolation.png)",
    )
    json_argument(parser)


def interpolate(options: argparse.Namespace) -> None:
    """Write a picture of the interpolations between pairs of images, one row per pair."""
    import numpy as np

    from tfgen import zoo

    card = zoo.card(options.model)
    if len(options.images) % 2:
        raise InputError(f"IMAGE must be given in pairs, got {len(options.images)} files")
    of_samples = {"rows": options.rows, "temperature": options.temperature, "seed": options.seed}
    given = [name for name, value in of_samples.items() if value is not None]
    if options.images and given:
        raise InputError(f"--{given[0]} applies to samples: omit it or the image files")
    rows = checks.integer("--rows", 4 if options.rows is None else options.rows, 1)
    steps = checks.integer("--steps", options.steps, 2)
    temperature = _temperature(options, card)
    _check_noise(temperature, options.seed)
    for image in options.images:
        if os.path.isdir(image) or not os.path.exists(image):
            reason = "is a directory" if os.path.isdir(image) else "does not exist"
            raise InputError(f"{image} {reason}: give an image file")
    out = _picture_file(options.out)
    with quiet_start():
        model = zoo.load(options.model)
        from tfgen.data.image_files import read_files
        from tfgen.evaluation import pictures
    if options.images:
        images = read_files(options.images, model.image_shape)
    else:
        images = model.sample(2 * rows, temperature, options.seed)
    between = np.asarray(model.interpolate(images[::2], images[1::2], steps))
    picture = pictures.grid(np.concatenate(between), columns=steps)
    facts = {
        "rows": len(between),
        "columns": steps,
        "images": options.images or None,
        "temperature": None if options.images else temperature,
        "seed": options.seed,
    }
    _write(options, picture, out, f"{len(between)} x {steps} images", facts)


def _write(options, picture, out, text, facts):
    """Write a picture and report it, as a sentence or with --json."""
    from tfgen.files import write_atomically

    write_atomically(out, lambda path: picture.save(path))
    if options.json:
        print_json({"model": options.model, "file": str(out), **facts})
    else:
        print(f"{text} in {out}")


def _temperature(options, card):
    """The temperature that is given, or that the model's card recommends."""
    from tfgen.evaluation import report

    return report.temperature(card) if options.temperature is None else options.temperature


def _check_noise(temperature, seed):
    checks.number("--temperature", temperature, 0)
    if seed is not None:
        checks.integer("--seed", seed, -(2**63), 2**63 - 1)


def _grid(text):
    match = re.fullmatch(r"([1-9][0-9]{0,2})x([1-9][0-9]{0,2})", text)
    if not match:
        raise InputError(f"--grid must be ROWSxCOLUMNS, such as 8x8, up to 999, got {text!r}")
    return int(match[1]), int(match[2])


def _picture_file(name):
    from PIL import Image

    if Image.registered_extensions().get(Path(name).suffix.lower()) not in Image.SAVE:
        raise InputError(f"--out {name}: unknown image format; use .png or .jpg")
    return output_file(name)
