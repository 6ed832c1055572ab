"""The images that a recipe trains on."""

from __future__ import annotations

import os
from pathlib import Path

import tfgen
from tfgen.data.dataset import Dataset
from tfgen.errors import InputError
from tfgen.files import PathLike
from tfgen.models.base import GenerativeModel
from tfgen.training.recipe import Recipe


def load(
    recipe: Recipe, data_dir: PathLike | None = None, directory: PathLike | None = None
) -> Dataset:
    """The data set of a recipe, with its validation images held out.

    Args:
        recipe: the recipe.
        data_dir: where local data sets are, see `tfgen.data.load`.
        directory: the directory in which the run started; a relative path of a folder of images
            refers to it.

    Raises:
        InputError: data without a test split, or without the validation images that
            `weights=best` needs; the errors of `tfgen.data.load`.

    Example:

    >>> from tfgen.training import recipe, recipe_data
    >>> recipe_data.load(recipe.load("vae-digits")).splits
    {'train': 1293, 'validation': 144, 'test': 360}
    """
    data = tfgen.data.load(
        _source(recipe, directory),
        data_dir=data_dir,
        image_shape=recipe.data.image_shape,
        options=recipe.data.options,
    )
    data = data.with_validation(recipe.data.validation) if recipe.data.validation else data
    if "test" not in data.splits:
        raise InputError(
            f"{data.name} has no split 'test', which the evaluation needs; it has "
            f"{', '.join(data.splits)}; use data with a test split, such as a folder of at least "
            "two images"
        )
    if recipe.training.weights == "best" and "validation" not in data.splits:
        raise InputError(
            f"training.weights=best needs validation images, and {data.name} has none: set "
            "data.validation=0.1 or training.weights=last"
        )
    return data


def check_classes(model: GenerativeModel, data: Dataset) -> None:
    """Check that the data have as many classes as a class-conditional model.

    Raises:
        InputError: the data have another number of classes, or no classes.
    """
    wanted = model.num_classes
    if wanted is not None and wanted != data.num_classes:
        found = f"{data.num_classes} classes" if data.num_classes else "no classes"
        raise InputError(f"model.num_classes is {wanted}, but {data.name} has {found}")


def _source(recipe, directory):
    """The source of the data; a path is relative to the directory in which the run started."""
    source = recipe.data.source
    if directory in (None, os.getcwd()) or source in tfgen.data.names():
        return source
    there = Path(directory, source)
    return str(there) if there.is_dir() else source
