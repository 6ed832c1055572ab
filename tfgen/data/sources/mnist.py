"""`mnist` and `fashion_mnist`: 28x28 grey images from the four classic IDX files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tfgen.data import local_files, storage
from tfgen.data.dataset import Dataset
from tfgen.data.formats import idx
from tfgen.errors import InputError

_PREFIXES = {"train": "train", "test": "t10k"}

Files = dict[str, tuple[Path, Path]]  # for each split, those of the images and of the labels


@dataclasses.dataclass(frozen=True)
class _DataSet:
    title: str
    page: str
    directories: tuple[str, ...]  # below a data directory, in the order of the search
    classes: tuple[str, ...]
    md5: dict[str, tuple[str, str]]  # for each split, of the unpacked images and labels


_DATA_SETS = {
    # 70,000 handwritten digits of LeCun, Cortes and Burges.
    "mnist": _DataSet(
        title="MNIST",
        page="http://yann.lecun.com/exdb/mnist",
        directories=("mnist", "MNIST/raw", ""),
        classes=tuple("0123456789"),
        md5={
            "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
            "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
        },
    ),
    # 70,000 pictures of clothing of Zalando Research.
    "fashion_mnist": _DataSet(
        title="Fashion-MNIST",
        page="https://github.com/zalandoresearch/fashion-mnist",
        directories=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", ""),
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        md5={
            "train": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
            "test": ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
        },
    ),
}


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Opens `mnist` or `fashion_mnist`, 28x28x1.

    Args:
        name: `mnist` or `fashion_mnist`.
        data_dir: as in `tfgen.data.load`.

    Raises:
        InputError: files are missing or damaged, or belong to the other data set.
    """
    files = _find(name, data_dir)
    key = [local_files.fingerprint(path) for pair in files.values() for path in pair]
    return storage.stored(name, key, lambda: _content(name, files), options={})


def _content(name: str, files: Files) -> storage.Content:
    data_set = _DATA_SETS[name]
    provenance: list[dict] = []
    return storage.Content(
        image_shape=(28, 28, 1),
        labels={"label": data_set.classes},
        splits={split: _examples(name, split, *files[split], provenance) for split in _PREFIXES},
        metadata={
            "source": f"local files of {data_set.title}",
            "split": "as published",
            "files": provenance,
        },
    )


def _examples(
    name: str, split: str, images_path: Path, labels_path: Path, provenance: list[dict]
) -> Iterator:
    arrays = []
    for path, axes, md5 in zip(
        (images_path, labels_path), (3, 1), _DATA_SETS[name].md5[split], strict=True
    ):
        content = local_files.read(path)
        arrays.append(idx.parse(content, path, axes))
        provenance.append(local_files.provenance(path, content, md5))
        _refuse_other_data_set(name, path, provenance[-1]["md5"])
    images, labels = arrays
    if images.shape[1:] != (28, 28) or len(images) == 0:
        raise local_files.damaged(images_path, f"its shape is {images.shape}, not (N, 28, 28)")
    if len(images) != len(labels):
        raise local_files.damaged(
            labels_path, f"{len(labels)} labels for the {len(images)} images of {images_path}"
        )
    if labels.max() > 9:
        raise local_files.damaged(labels_path, f"a label is {labels.max()}, not 0 to 9")
    for image, label in zip(images, labels, strict=True):
        yield image[..., None], {"label": label}


def _refuse_other_data_set(name: str, path: Path, md5: str) -> None:
    for other, data_set in _DATA_SETS.items():
        if other != name and any(md5 in pair for pair in data_set.md5.values()):
            raise InputError(
                f"{path} belongs to {other}, not to {name}; put the files of {name} into a "
                "directory of that name"
            )


def _find(name: str, data_dir: str | Path | None) -> Files:
    """The four files, all in one directory."""
    data_set = _DATA_SETS[name]
    incomplete = ""
    for root in local_files.data_dirs(data_dir):
        for directory in (root / below for below in data_set.directories):
            files, present = {}, []
            for split, prefix in _PREFIXES.items():
                images, labels = (
                    local_files.find(directory, f"{prefix}-{dashed}-ubyte", f"{prefix}-{dotted}")
                    for dashed, dotted in (
                        ("images-idx3", "images.idx3-ubyte"),
                        ("labels-idx1", "labels.idx1-ubyte"),
                    )
                )
                present += [path.name for path in (images, labels) if path]
                if images and labels:
                    files[split] = (images, labels)
            if len(files) == len(_PREFIXES):
                return files
            if present and not incomplete:
                incomplete = f" ({directory} holds only {', '.join(present)} of the four files)"
    raise local_files.missing(
        data_set.title,
        data_dir,
        incomplete,
        f"its four files {data_set.directories[0]}/train-images-idx3-ubyte.gz, train-labels-idx1-"
        "ubyte.gz, t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz",
        data_set.page,
    )
