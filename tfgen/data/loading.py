"""`load`: from the name of a data set or a folder to a `Dataset`."""

import operator
from pathlib import Path

from tfgen.data import catalog
from tfgen.data.dataset import Dataset
from tfgen.data.opening import open_prepared
from tfgen.errors import InputError
from tfgen.files import expanded


def load(source, *, data_dir=None, image_shape=None, options=None) -> Dataset:
    """Opens a data set, preparing it the first time.

    Args:
        source: one of `tfgen.data.names()`; the path of a folder of images; or a name of
            TensorFlow Datasets such as `"tf_flowers"` or `"cifar100:3.0.2"`.
        data_dir: folder in which the files of `mnist`, `fashion_mnist` and `cifar10` are looked
            for; None: the environment variable `TFGEN_DATA`, then `<TFGEN_HOME>/data`.
        image_shape: (H, W, C) wanted, C = 1 (grey) or 3 (RGB); None: the data set's own. Folders
            and TFDS sets are resized to it; tfgen's own data sets must have it.
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
    image_shape = _checked_shape(image_shape)
    options = dict(options or {})
    if isinstance(source, str) and source in catalog.names():
        return _load_named(source, data_dir, image_shape, options)
    if _is_folder(source):
        from tfgen.data.sources import image_folder

        _check_options("a folder of images", options, {})
        builder = image_folder.prepare(Path(source), image_shape)
        name = expanded(source).resolve().name
        return open_prepared(builder, name=name, options={"image_shape": image_shape})
    from tfgen.data.sources import tfds as tfds_names

    return tfds_names.load(source, image_shape, options)


def _load_named(name, data_dir, image_shape, options):
    if name == "shapes":
        from tfgen.data.sources import shapes

        _check_options(name, options, shapes.DEFAULTS)
        options = shapes.DEFAULTS | options
        builder = shapes.prepare(**options)
    else:
        _check_options(name, options, {})
        if name == "digits":
            from tfgen.data.sources import digits

            builder = digits.prepare()
        elif name == "cifar10":
            from tfgen.data.sources import cifar10

            builder = cifar10.prepare(data_dir)
        else:
            from tfgen.data.sources import mnist

            builder = mnist.prepare(name, data_dir)
    dataset = open_prepared(builder, name=name, options=options)
    if image_shape not in (None, dataset.image_shape):
        hint = " (its option size sets another side)" if name == "shapes" else ""
        raise InputError(
            f"{name} has images of shape {dataset.image_shape}, not {image_shape}{hint}; ask for "
            "that shape or for none"
        )
    return dataset


def _is_folder(source) -> bool:
    if isinstance(source, Path):
        return True
    if not isinstance(source, str) or not source:
        raise InputError(
            f"the data source is {source!r}; give one of {', '.join(catalog.names())}, the path "
            "of a folder of images, or a name of TensorFlow Datasets"
        )
    if expanded(source).is_dir():
        return True
    if "/" not in source and "\\" not in source:
        return False
    # TFDS writes its configurations as name/config.
    from tfgen.data.sources import tfds as tfds_names

    return not tfds_names.is_known(source.split("/")[0])


def _check_options(what, options, known):
    for option in options:
        if option not in known:
            takes = f"has the options {', '.join(known)}" if known else "takes no options"
            raise InputError(f"unknown option {option!r}: {what} {takes}")


def _checked_shape(image_shape):
    if image_shape is None:
        return None
    try:
        height, width, channels = map(operator.index, image_shape)
    except (TypeError, ValueError):
        height = 0
    if height < 1 or width < 1 or channels not in (1, 3):
        raise InputError(
            f"image_shape is {image_shape!r}; give (height, width, channels) in pixels, with 1 "
            "channel for grey or 3 for RGB"
        )
    return height, width, channels
