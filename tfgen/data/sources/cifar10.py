"""`cifar10`: 32x32 colour photographs from any of the published forms of the data set."""

from __future__ import annotations

from pathlib import Path

from tfgen.data import local_files, storage
from tfgen.data.dataset import Dataset
from tfgen.data.formats import cifar10_batches

_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Opens the 60,000 labelled photographs of Krizhevsky, Nair and Hinton.

    Args:
        name: `cifar10`.
        data_dir: as in `tfgen.data.load`.

    Raises:
        InputError: files are missing or damaged.
    """
    batches = _find(data_dir)
    key = [local_files.fingerprint(path) for path in batches.paths]
    return storage.stored(name, key, lambda: _content(batches), options={})


def _content(batches: cifar10_batches.Batches) -> storage.Content:
    files: list[dict] = []

    def examples(names):
        for name in names:
            images, labels, provenance = batches.read(name)
            files.append(provenance)
            for image, label in zip(images, labels, strict=True):
                yield image, {"label": label}

    return storage.Content(
        image_shape=(32, 32, 3),
        labels={"label": _CLASSES},
        splits={split: examples(names) for split, names in cifar10_batches.SPLITS.items()},
        metadata={
            "source": f"local files of CIFAR-10, {batches.form}",
            "split": "as published",
            "files": files,
        },
    )


def _find(data_dir: str | Path | None) -> cifar10_batches.Batches:
    incomplete = ""
    for directory in local_files.data_dirs(data_dir):
        batches, partial = cifar10_batches.find(directory)
        if batches:
            return batches
        incomplete = incomplete or partial
    raise local_files.missing(
        "CIFAR-10",
        data_dir,
        incomplete,
        "cifar-10-binary.tar.gz or cifar-10-python.tar.gz (or their unpacked content)",
        _PAGE,
    )
