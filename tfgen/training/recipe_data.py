"""The images that a recipe trains on."""

import os
from pathlib import Path

import tfgen
from tfgen.errors import InputError


def load(chosen, data_dir=None, directory=None):
    """The data set of a recipe, with its validation images held out.

    Args:
        chosen: a `tfgen.training.recipe.Recipe`.
        data_dir: where local data sets lie, see `tfgen.data.load`.
        directory: in which the run began; a folder of images may be named as seen from there.

    Returns:
        A `tfgen.data.Dataset`.

    Raises:
        InputError: data without a split to evaluate on, or without the validation images that
            `weights=best` needs; and as `tfgen.data.load`.

    Example:

    >>> from tfgen.training import recipe, recipe_data
    >>> recipe_data.load(recipe.load("vae-digits")).splits
    {'train': 1293, 'validation': 144, 'test': 360}
    """
    data = tfgen.data.load(
        _source(chosen, directory),
        data_dir=data_dir,
        image_shape=chosen.data.image_shape,
        options=chosen.data.options,
    )
    data = data.with_validation(chosen.data.validation) if chosen.data.validation else data
    if "test" not in data.splits:
        raise InputError(
            f"{data.name} has no split 'test', on which the model is evaluated, only "
            f"{', '.join(data.splits)}; give data that have one: any folder of at least two images"
        )
    if chosen.training.weights == "best" and "validation" not in data.splits:
        raise InputError(
            f"training.weights=best needs validation images, and {data.name} has none: hold some "
            "out with data.validation=0.1, or choose training.weights=last"
        )
    return data


def check_classes(model, data):
    """Refuse data that have not as many classes as a class-conditional model.

    Raises:
        InputError: other classes, or none.
    """
    wanted = model.num_classes
    if wanted is not None and wanted != data.num_classes:
        found = f"{data.num_classes} classes" if data.num_classes else "no classes"
        raise InputError(f"model.num_classes is {wanted}, and {data.name} has {found}")


def _source(chosen, directory):
    """The source of the data; a folder that was given as seen from where the run began, as such."""
    source = chosen.data.source
    if directory in (None, os.getcwd()) or source in tfgen.data.names():
        return source
    there = Path(directory, source)
    return str(there) if there.is_dir() else source
