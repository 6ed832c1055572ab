"""Any image data set of TensorFlow Datasets, by its TFDS name."""

from __future__ import annotations

import logging
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfgen.data import catalog
from tfgen.data.dataset import Dataset
from tfgen.data.formats.tfds_records import TFDSReader
from tfgen.data.storage import lock, quiet
from tfgen.errors import InputError

_log = logging.getLogger(__name__)


def is_known(name: str) -> bool:
    """Whether TFDS has a data set of this name (without configuration and version)."""
    return name in tfds.list_builders()


def load(
    name: str,
    image_shape: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Dataset:
    """Opens a data set of TFDS; the first time, it is downloaded to TFDS's own directory.

    Args:
        name: `name`, `name/config` or `name:version`.
        image_shape: (H, W, C) to fit the images to; None for the data set's own.
        options: arguments of the TFDS builder.

    Raises:
        InputError: unknown name, no network, no images, or images of several shapes and no
            `image_shape`.
    """
    options = dict(options or {})
    builder = _builder(name, options)
    image_key = _image_key(name, builder.info.features)
    own_shape = tuple(builder.info.features[image_key].shape)
    if image_shape is None and None in own_shape:
        raise InputError(
            f"the images of {name} have several sizes; give the image_shape (H, W, C) to fit them "
            "to"
        )
    shape = tuple(image_shape or (*own_shape[:2], 1 if own_shape[2] == 1 else 3))
    _download(name, builder)
    ranges, layout = splits(builder.info.splits)
    return Dataset(
        name=name,
        image_shape=shape,
        splits={split: stop - start for split, (_, start, stop) in ranges.items()},
        provenance={
            "name": name,
            "builder": builder.info.full_name,
            "version": str(builder.info.version),
            "options": {"image_shape": image_shape, **options},
            "source": f"TensorFlow Datasets {tfds.__version__}",
            "split": layout,
            "files": [],
            "unreadable_files": 0,
        },
        unreadable=[],
        _reader=TFDSReader(builder, image_key, shape),
        _ranges=ranges,
    )


def splits(infos: Mapping[str, Any]) -> tuple[dict[str, tuple[str, int, int]], str]:
    """tfgen's splits, derived from the splits of TFDS.

    Args:
        infos: a dict from each split of TFDS to its `SplitInfo`.

    Returns:
        For each split (stored split, start, stop), and a description.

    Raises:
        InputError: there is no training split to take images from.
    """
    counts = {split: infos[split].num_examples for split in infos}
    if not counts.get("train"):
        raise InputError(
            f"the data set has no split 'train', only {', '.join(counts)}; choose another data set"
        )
    whole = {split: (split, 0, count) for split, count in counts.items() if count}
    if "test" in whole:
        kept = [split for split in ("train", "validation", "test") if split in whole]
        return {split: whole[split] for split in kept}, "as published"
    if "validation" in whole:
        return (
            {"train": whole["train"], "test": whole["validation"]},
            "published train; the published validation is the test split",
        )
    count = counts["train"]
    cut = count - max(1, count // 10)
    return (
        {"train": ("train", 0, cut), "test": ("train", cut, count)},
        "published train; its last tenth is the test split",
    )


def _builder(name, options):
    if not re.fullmatch(r"[\w.:/+=-]+", name):
        raise InputError(
            f"{name!r} is not a name of a data set; {catalog.suggestion(name, _all_names())}"
        )
    try:
        with quiet():
            return tfds.builder(name, try_gcs=False, **options)
    except tfds.core.DatasetNotFoundError:
        base = re.split("[/:]", name)[0]
        raise InputError(
            f"there is no data set or folder named {name!r}; "
            f"{catalog.suggestion(base, _all_names())}"
        ) from None
    except ImportError as error:
        raise _missing_package(name, error) from None
    except Exception as error:
        raise InputError(f"TFDS cannot open {name!r}: {_first_line(error)}") from None


def _download(name, builder):
    """Prepares the data if necessary; one process at a time."""
    if _is_prepared(builder):
        return
    with lock(f"tfds-{builder.info.full_name.replace('/', '-')}"):
        if _is_prepared(builder):
            return
        try:
            _require_network(builder)
            _log.info("TFDS downloads and prepares %s in %s", name, builder.data_path)
            with quiet():
                builder.download_and_prepare()
        except ImportError as error:
            raise _missing_package(name, error) from None
        except Exception as error:
            raise InputError(
                f"TFDS cannot prepare {name!r} in {builder.data_path}: {_first_line(error)}; "
                "check the network and the disk, or use a folder of images or one of "
                f"{', '.join(catalog.names())}"
            ) from None


def _is_prepared(builder):
    with quiet():
        return builder.is_prepared()


def _require_network(builder):
    """Fails at once if the host of the download has no address; TFDS would retry for minutes."""
    urls = list(builder.url_infos or ())
    if not urls:
        return
    proxy = urllib.request.getproxies().get(urllib.parse.urlsplit(urls[0]).scheme)
    host = urllib.parse.urlsplit(proxy or urls[0]).hostname
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        raise ConnectionError(f"no network, {host} cannot be reached") from None


def _image_key(name, features):
    known = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    for key in ("image", *known):
        if isinstance(known.get(key), tfds.features.Image):
            if features[key].np_dtype == np.uint8:
                return key
            raise InputError(f"the images of {name} are {features[key].np_dtype}, not uint8")
    raise InputError(f"{name} has no images, only {', '.join(known)}; choose an image data set")


def _missing_package(name, error):
    package = getattr(error, "name", None) or "one that is missing"
    return InputError(
        f"TFDS needs the package {package} for {name!r} ({_first_line(error)}); install it with pip"
    )


def _all_names():
    return list(dict.fromkeys([*catalog.names(), *tfds.list_builders()]))


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
