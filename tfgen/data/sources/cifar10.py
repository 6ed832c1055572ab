"""`cifar10`: 32x32 colour photographs from any of the published forms of the data set."""

import tensorflow_datasets as tfds

from tfgen.data.builder import ImageBuilder
from tfgen.data.formats import cifar10_binary as cifar10_files
from tfgen.data.prepared import prepared
from tfgen.data.sources import local_files
from tfgen.data.sources.local_files import data_dirs

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


class CIFAR10(ImageBuilder, skip_registration=True):
    """The 60,000 labelled photographs of Krizhevsky, Nair and Hinton."""

    name = "cifar10"

    def __init__(self, *, data_dir, source):
        self._source = source
        super().__init__(data_dir=data_dir)

    def _info(self):
        labels = {"label": tfds.features.ClassLabel(names=list(_CLASSES))}
        return self.image_info((32, 32, 3), labels, homepage=_PAGE)

    def _split_generators(self, dl_manager):
        del dl_manager
        self.info.metadata["source"] = f"local files of CIFAR-10, {self._source.form}"
        self.info.metadata["split"] = "as published"
        self.info.metadata["files"] = []
        return {
            split: self._generate_examples(self._pairs(batches))
            for split, batches in cifar10_files.BATCHES.items()
        }

    def _pairs(self, batches):
        for batch in batches:
            images, labels, entry = self._source.read(batch)
            self.info.metadata["files"].append(entry)
            for image, label in zip(images, labels, strict=True):
                yield image, {"label": label}


def prepare(data_dir=None):
    """Opens the prepared `cifar10`, 32x32x3.

    Args:
        data_dir: as in `tfgen.data.load`.

    Raises:
        InputError: files are missing or damaged.
    """
    source = _find(data_dir)
    key = [local_files.fingerprint(path) for path in source.paths]
    return prepared(CIFAR10, key, lambda root: CIFAR10(data_dir=root, source=source))


def _find(data_dir) -> cifar10_files.Source:
    incomplete = ""
    for place in data_dirs(data_dir):
        source, partial = cifar10_files.find(place)
        if source:
            return source
        incomplete = incomplete or partial
    raise local_files.missing(
        "CIFAR-10",
        data_dir,
        incomplete,
        "cifar-10-binary.tar.gz or cifar-10-python.tar.gz (or what they hold, packed or not)",
        _PAGE,
    )
