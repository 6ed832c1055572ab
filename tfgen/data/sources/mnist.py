"""`mnist` and `fashion_mnist`: 28x28 grey images from the four classic IDX files."""

from pathlib import Path

import tensorflow_datasets as tfds

from tfgen.data.builder import ImageBuilder
from tfgen.data.formats import idx
from tfgen.data.prepared import prepared
from tfgen.data.sources import local_files
from tfgen.data.sources.local_files import data_dirs
from tfgen.errors import InputError

_PREFIXES = {"train": "train", "test": "t10k"}

# MD5 of the unpacked files: images and labels of train, then of test.
_PUBLISHED = {
    "mnist": {
        "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
        "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    },
    "fashion_mnist": {
        "train": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
        "test": ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
    },
}


class MNIST(ImageBuilder, skip_registration=True):
    """The 70,000 handwritten digits of LeCun, Cortes and Burges."""

    name = "mnist"
    title = "MNIST"
    page = "http://yann.lecun.com/exdb/mnist"
    folders = ("mnist", "MNIST/raw", "")
    classes = tuple(str(digit) for digit in range(10))

    def __init__(self, *, data_dir, files):
        self._files = files
        super().__init__(data_dir=data_dir)

    def _info(self):
        labels = {"label": tfds.features.ClassLabel(names=list(self.classes))}
        return self.image_info((28, 28, 1), labels, homepage=self.page)

    def _split_generators(self, dl_manager):
        del dl_manager
        self.info.metadata["source"] = f"local files of {self.title}"
        self.info.metadata["split"] = "as published"
        self.info.metadata["files"] = []
        return {split: self._generate_examples(self._pairs(split)) for split in _PREFIXES}

    def _pairs(self, split):
        images = self._read(split, 0)
        labels = self._read(split, 1)
        images_path, labels_path = self._files[split]
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

    def _read(self, split, which):
        path = self._files[split][which]
        content = local_files.read(path)
        array = idx.parse(content, path, dimensions=(3, 1)[which])
        entry = local_files.record(path, content, _PUBLISHED[self.name][split][which])
        self._refuse_the_other_set(path, entry["md5"])
        self.info.metadata["files"].append(entry)
        return array

    def _refuse_the_other_set(self, path, md5):
        for other, published in _PUBLISHED.items():
            if other != self.name and any(md5 in digests for digests in published.values()):
                raise InputError(
                    f"{path} belongs to {other}, not to {self.name}; "
                    f"put the files of {self.name} into a folder of that name"
                )


class FashionMNIST(MNIST, skip_registration=True):
    """The 70,000 pictures of clothing of Zalando Research."""

    name = "fashion_mnist"
    title = "Fashion-MNIST"
    page = "https://github.com/zalandoresearch/fashion-mnist"
    folders = ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "")
    classes = (
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
    )


def prepare(name: str, data_dir=None):
    """Opens the prepared `mnist` or `fashion_mnist`, 28x28x1.

    Args:
        name: which of the two.
        data_dir: as in `tfgen.data.load`.

    Raises:
        InputError: files are missing or damaged, or belong to the other data set.
    """
    builder = {"mnist": MNIST, "fashion_mnist": FashionMNIST}[name]
    files = _find(builder, data_dir)
    key = [local_files.fingerprint(path) for pair in files.values() for path in pair]
    return prepared(builder, key, lambda root: builder(data_dir=root, files=files))


def _find(builder, data_dir) -> dict[str, tuple[Path, Path]]:
    """The four files, all from one folder: split -> (images, labels)."""
    incomplete = ""
    for place in data_dirs(data_dir):
        for folder in (place / below for below in builder.folders):
            files = {
                split: tuple(
                    local_files.spellings(folder, f"{prefix}-{kind}-ubyte", f"{prefix}-{dotted}")
                    for kind, dotted in (
                        ("images-idx3", "images.idx3-ubyte"),
                        ("labels-idx1", "labels.idx1-ubyte"),
                    )
                )
                for split, prefix in _PREFIXES.items()
            }
            found = [path for pair in files.values() for path in pair if path]
            if len(found) == 4:
                return files
            if found and not incomplete:
                names = ", ".join(path.name for path in found)
                incomplete = f" ({folder} holds only {names} of the four files)"
    raise local_files.missing(
        builder.title,
        data_dir,
        incomplete,
        f"its four files {builder.folders[0]}/train-images-idx3-ubyte.gz, train-labels-idx1-"
        "ubyte.gz, t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz",
        builder.page,
    )
