"""The data sets that tfgen knows by name, and `load`; TensorFlow is imported only by `load`."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfgen import checks
from tfgen.errors import InputError
from tfgen.files import expanded

if TYPE_CHECKING:
    from tfgen.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that tfgen knows by name.

    Attributes:
        description: one line: what it holds and where it comes from.
        module: name of a module in `tfgen.data.sources`, whose `load(name, ...)` returns the
            `Dataset`.
        image_shape: (H, W, C) of the images; a string is the name of the option that sets it.
        from_local_files: whether `load` takes a `data_dir`.
        options: the further arguments of `load`, with their defaults.
    """

    description: str
    module: str
    image_shape: tuple[int | str, int | str, int]
    from_local_files: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


SOURCES = {
    "digits": Source(
        "1,797 handwritten digits of scikit-learn, 8x8 grey, 10 classes; embedded",
        "digits",
        (8, 8, 1),
    ),
    "shapes": Source(
        "coloured shapes drawn from known factors, 32x32 RGB, any number; embedded",
        "shapes",
        ("size", "size", 3),
        options={"num_images": 10_000, "num_test_images": 2_000, "seed": 0, "size": 32},
    ),
    "mnist": Source(
        "70,000 handwritten digits, 28x28 grey, 10 classes; from local files",
        "mnist",
        (28, 28, 1),
        from_local_files=True,
    ),
    "fashion_mnist": Source(
        "70,000 pieces of clothing, 28x28 grey, 10 classes; from local files",
        "mnist",
        (28, 28, 1),
        from_local_files=True,
    ),
    "cifar10": Source(
        "60,000 photographs, 32x32 RGB, 10 classes; from local files",
        "cifar10",
        (32, 32, 3),
        from_local_files=True,
    ),
}


def names() -> list[str]:
    """Names of the data sets that tfgen knows itself.

    Example:

    >>> import tfgen
    >>> tfgen.data.names()
    ['digits', 'shapes', 'mnist', 'fashion_mnist', 'cifar10']
    """
    return list(SOURCES)


def describe(name: str) -> str:
    """Describes in one line what a data set of `names()` holds and where it comes from.

    Args:
        name: one of `names()`.

    Raises:
        InputError: tfgen knows no data set of that name.

    Example:

    >>> import tfgen
    >>> tfgen.data.describe("digits")
    '1,797 handwritten digits of scikit-learn, 8x8 grey, 10 classes; embedded'
    """
    if name not in SOURCES:
        raise InputError(f"tfgen has no data set named {name!r}; {suggestion(name, names())}")
    return SOURCES[name].description


def suggestion(name: str, known: list[str]) -> str:
    """Suggests up to three similar names, or lists tfgen's own data sets."""
    hint = checks.did_you_mean(name, known).removeprefix("; ")
    return hint or f"tfgen knows {', '.join(names())}, folders of images and TFDS names"


def load(
    source: str | Path,
    *,
    data_dir: str | Path | None = None,
    image_shape: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Dataset:
    """Opens a data set; the first time, it is prepared and stored in tfgen's cache.

    Args:
        source: one of `tfgen.data.names()`; the path of a folder of images; or a name of
            TensorFlow Datasets such as `"tf_flowers"` or `"cifar100:3.0.2"`.
        data_dir: directory with the files of `mnist`, `fashion_mnist` and `cifar10`; None for the
            one in the environment variable `TFGEN_DATA`, then `<TFGEN_HOME>/data`.
        image_shape: (H, W, C), C = 1 (grey) or 3 (RGB); None for the data set's own. Images of
            folders and of TFDS data sets are resized to it; tfgen's own data sets must already have
            it.
        options: for `shapes`: `num_images`, `num_test_images`, `seed` and `size`; for a name of
            TFDS: arguments of its builder.

    Raises:
        InputError: unknown name, missing or damaged files, another image shape, unknown option.

    Example:

    >>> import tfgen
    >>> digits = tfgen.data.load("digits")
    >>> digits.image_shape, digits.splits
    ((8, 8, 1), {'train': 1437, 'test': 360})
    """
    if image_shape is not None:
        image_shape = checks.image_shape("image_shape", image_shape, channels=(1, 3))
    options = dict(options or {})
    if isinstance(source, str) and source in SOURCES:
        return _load_named(source, data_dir, image_shape, options)
    if _is_folder(source):
        from tfgen.data.sources import image_folder

        _check_options("a folder of images", options, {})
        return image_folder.load(source, image_shape)
    from tfgen.data.sources import tfds

    return tfds.load(str(source), image_shape, options)


def _load_named(
    name: str,
    data_dir: str | Path | None,
    image_shape: Sequence[int] | None,
    options: dict[str, Any],
) -> Dataset:
    source = SOURCES[name]
    _check_options(name, options, source.options)
    options = {**source.options, **options}
    if image_shape is not None:
        check_image_shape(name, image_shape, options)
    module = importlib.import_module(f"tfgen.data.sources.{source.module}")
    local = {"data_dir": data_dir} if source.from_local_files else {}
    return module.load(name, **local, **options)


def check_image_shape(
    name: str, image_shape: Sequence[int], options: Mapping[str, Any] | None = None
) -> None:
    """Checks, without opening a data set, that its images have a shape.

    Args:
        name: one of `names()`; images of other data sets are resized to any shape.
        image_shape: (H, W, C).
        options: as for `load`.

    Raises:
        InputError: the images have another shape.

    Example:

    >>> from tfgen.data import catalog
    >>> catalog.check_image_shape("shapes", (16, 16, 3), {"size": 16})
    >>> catalog.check_image_shape("mnist", (8, 8, 1))
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: mnist has images of shape (28, 28, 1), not (8, 8, 1); ...
    """
    if name not in SOURCES:
        return
    source = SOURCES[name]
    given = {**source.options, **(options or {})}
    shape = tuple(given[side] if isinstance(side, str) else side for side in source.image_shape)
    if tuple(image_shape) != shape and all(isinstance(side, int) for side in shape):
        hint = " (its option size sets another side)" if "size" in source.options else ""
        raise InputError(
            f"{name} has images of shape {shape}, not {tuple(image_shape)}{hint}; give this "
            "image_shape or omit it"
        )


def _is_folder(source: object) -> bool:
    if isinstance(source, Path):
        return True
    if not isinstance(source, str) or not source:
        raise InputError(
            f"the data source is {source!r}; give one of {', '.join(names())}, the path of a "
            "folder of images, or a name of TensorFlow Datasets"
        )
    if expanded(source).is_dir():
        return True
    if "/" not in source and "\\" not in source:
        return False
    # TFDS writes its configurations as name/config.
    from tfgen.data.sources import tfds

    return not tfds.is_known(source.split("/")[0])


def _check_options(owner: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for option in options:
        if option not in known:
            allowed = f"has the options {', '.join(known)}" if known else "takes no options"
            hint = checks.did_you_mean(option, known)
            raise InputError(f"unknown option {option!r}: {owner} {allowed}{hint}")
