"""Any image data set of TensorFlow Datasets, by its name there."""

import logging
import re
import socket
import urllib.parse
import urllib.request

import numpy as np
import tensorflow_datasets as tfds

from tfgen.data import catalog
from tfgen.data.builder import quiet
from tfgen.data.dataset import Dataset
from tfgen.data.formats.tfds_records import TFDSReader
from tfgen.data.opening import label_fields
from tfgen.data.prepared import lock
from tfgen.errors import InputError

_log = logging.getLogger(__name__)


def is_known(name: str) -> bool:
    """Whether TFDS has a data set of this name (without configuration and version)."""
    return name in tfds.list_builders()


def load(name: str, image_shape=None, options=None) -> Dataset:
    """Opens a data set of TFDS, downloading and preparing it in TFDS's own folder if need be.

    Args:
        name: `name`, `name/config` or `name:version`.
        image_shape: (H, W, C) to fit the images to; None: the data set's own.
        options: arguments of the TFDS builder.

    Raises:
        InputError: unknown name, no network, no images, or images of several shapes and no
            `image_shape`.
    """
    builder = _builder(name, options or {})
    image_key = _image_key(name, builder.info.features)
    own_shape = tuple(builder.info.features[image_key].shape)
    if image_shape is None and None in own_shape:
        raise InputError(
            f"the images of {name} have several sizes; say to which image_shape (H, W, C) to fit "
            "them"
        )
    shape = image_shape or (*own_shape[:2], 1 if own_shape[2] == 1 else 3)
    _download(name, builder)
    stored, layout = splits(builder.info.splits)
    labels = {key: value for key, value in builder.info.features.items() if key != image_key}
    reader = TFDSReader(builder, image_key, shape)
    fields = label_fields({key: labels[key] for key in labels if key in reader.label_keys})
    return Dataset(
        name=name,
        image_shape=shape,
        **fields,
        splits={split: stop - start for split, (_, start, stop) in stored.items()},
        provenance={
            "name": name,
            "builder": builder.info.full_name,
            "version": str(builder.info.version),
            "options": {"image_shape": image_shape, **(options or {})},
            "source": f"TensorFlow Datasets {tfds.__version__}",
            "split": layout,
            "files": [],
            "unreadable_files": 0,
        },
        unreadable=[],
        _reader=reader,
        _stored=stored,
    )


def splits(infos) -> tuple[dict[str, tuple[str, int, int]], str]:
    """tfgen's splits in terms of TFDS's: split -> (stored split, start, stop), and in words.

    Raises:
        InputError: there is no training split to take images from.
    """
    counts = {split: infos[split].num_examples for split in infos}
    if not counts.get("train"):
        raise InputError(
            f"the data set has no split 'train', only {', '.join(counts)}; choose another one"
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
    cut = counts["train"] - max(1, counts["train"] // 10)
    return (
        {"train": ("train", 0, cut), "test": ("train", cut, counts["train"])},
        "published train; its last tenth is the test split",
    )


def _builder(name, options):
    if not re.fullmatch(r"[\w.:/+=-]+", name):
        raise InputError(f"{name!r} is no name of a data set; {catalog.nearest(name, _all())}")
    try:
        with quiet():
            return tfds.builder(name, try_gcs=False, **options)
    except tfds.core.DatasetNotFoundError:
        base = re.split("[/:]", name)[0]
        raise InputError(
            f"there is no data set or folder named {name!r}; {catalog.nearest(base, _all())}"
        ) from None
    except ImportError as error:
        raise _lacks_package(name, error) from None
    except Exception as error:
        raise InputError(f"TFDS cannot open {name!r}: {_first_line(error)}") from None


def _download(name, builder):
    """Prepares the data unless it is; one process at a time."""
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
            raise _lacks_package(name, error) from None
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
    """Fails at once where TFDS would retry for minutes: the download's host has no address."""
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


def _lacks_package(name, error):
    package = getattr(error, "name", None) or "one that is missing"
    return InputError(
        f"TFDS needs the package {package} for {name!r} ({_first_line(error)}); install it with pip"
    )


def _all():
    return list(dict.fromkeys([*catalog.names(), *tfds.list_builders()]))


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
