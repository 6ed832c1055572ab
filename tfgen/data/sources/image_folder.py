"""A folder of images as a data set: resized and cropped once, unreadable files named."""

import concurrent.futures
import hashlib
import json
import logging
from pathlib import Path

import tensorflow_datasets as tfds

from tfgen.data.builder import ImageBuilder
from tfgen.data.formats import folder_files, pillow_images
from tfgen.data.prepared import prepared
from tfgen.errors import InputError
from tfgen.files import expanded

_CHUNK = 256  # files decoded at a time
_log = logging.getLogger(__name__)


class ImageFolder(ImageBuilder, skip_registration=True):
    """Images of one shape, in an order given by the hash of their paths."""

    name = "image_folder"

    def __init__(self, *, data_dir, root, image_shape, splits, classes, layout, unreadable):
        self._root, self._image_shape = root, image_shape
        self._splits, self._classes, self._layout = splits, classes, layout
        self._unreadable = unreadable
        self._digests = {}
        super().__init__(data_dir=data_dir)

    def _info(self):
        labels = {}
        if self._classes:
            labels["label"] = tfds.features.ClassLabel(names=sorted(set(self._classes.values())))
        return self.image_info(self._image_shape, labels)

    def _split_generators(self, dl_manager):
        del dl_manager
        self.info.metadata["source"] = f"folder of images {self._root.name}"
        self.info.metadata["split"] = self._layout
        self.info.metadata["unreadable"] = self._unreadable
        return {
            split: self._generate_examples(self._pairs(split, paths))
            for split, paths in self._splits.items()
        }

    def _pairs(self, split, paths):
        readable = 0
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for start in range(0, len(paths), _CHUNK):
                chunk = paths[start : start + _CHUNK]
                for path, (image, outcome) in zip(chunk, pool.map(self._read, chunk), strict=True):
                    if image is None:
                        self._unreadable.append([path, outcome])
                        continue
                    readable += 1
                    self._digests[path] = outcome
                    yield image, {"label": self._classes[path]} if self._classes else {}
        if not readable:
            raise _nothing_readable(self._root, self._unreadable, f" for {split}")
        self.info.metadata["files"] = {
            "count": len(self._digests),
            "sha256": hashlib.sha256(
                json.dumps(sorted(self._digests.items())).encode()
            ).hexdigest(),
        }

    def _read(self, path):
        """The image and its file's SHA-256, or None and why there is none."""
        try:
            content = (self._root / path).read_bytes()
            image = pillow_images.pixels(content, self._image_shape)
        except (pillow_images.UnreadableImageError, OSError) as error:
            return None, getattr(error, "strerror", None) or str(error)
        return image, hashlib.sha256(content).hexdigest()


def prepare(root: Path, image_shape=None):
    """Opens a prepared folder of images, preparing it when a file came, went or changed.

    Args:
        root: the folder.
        image_shape: (H, W, C) to fit the images to; None: they must all have the same.

    Raises:
        InputError: no such folder, no readable image in it (or in one of its splits), or images
            of several shapes and no `image_shape`.
    """
    root = expanded(root).absolute()
    if not root.is_dir():
        what = "is a file, not a folder of images" if root.exists() else "does not exist"
        raise InputError(f"{root} {what}; give the path of a folder of images")
    files, unreadable = folder_files.scan(root)
    states = [[path, state.st_size, state.st_mtime_ns] for path, state in files.items()]
    key = [str(root.resolve()), image_shape, states, unreadable]
    builder = prepared(
        ImageFolder, key, lambda data_dir: _builder(data_dir, root, image_shape, files, unreadable)
    )
    _warn(root, builder.info.metadata["unreadable"])
    return builder


def _builder(data_dir, root, image_shape, files, unreadable):
    unreadable = [list(entry) for entry in unreadable]
    shapes = {}
    for path in files:
        try:
            shapes[path] = pillow_images.header(root / path)
        except pillow_images.UnreadableImageError as error:
            unreadable.append([path, str(error)])
    if not shapes:
        raise _nothing_readable(root, unreadable)
    splits = folder_files.split_by_folder(list(shapes))
    named = splits is not None
    if not named:
        splits = folder_files.split_by_hash(list(shapes))
    used = [path for paths in splits.values() for path in paths]
    unused = sorted(shapes.keys() - {*used})
    unreadable += [[path, "outside the folders of the splits"] for path in unused]
    return ImageFolder(
        data_dir=data_dir,
        root=root,
        image_shape=image_shape or _common_shape(root, {path: shapes[path] for path in used}),
        splits=splits,
        classes=folder_files.classes(splits, below_split_folder=named),
        layout="by folder" if named else "one in ten is a test image, by SHA-256 of its path",
        unreadable=unreadable,
    )


def _common_shape(root, shapes):
    channels = max(shape[2] for shape in shapes.values())
    by_size = {shape[:2]: path for path, shape in sorted(shapes.items(), reverse=True)}
    if len(by_size) > 1:
        (one, first), (other, second) = list(by_size.items())[:2]
        raise InputError(
            f"the images in {root} have {len(by_size)} sizes, such as {one[0]}x{one[1]} ({first}) "
            f"and {other[0]}x{other[1]} ({second}); say to which image_shape (H, W, C) to fit "
            "them, in a recipe with data.image_shape"
        )
    return (*next(iter(by_size)), channels)


def _nothing_readable(root, unreadable, where=""):
    reasons = f" ({_listed(unreadable)})" if unreadable else ""
    return InputError(
        f"{root} holds no readable image{where}{reasons}; give a folder with PNG, JPEG, BMP, GIF, "
        "WebP or TIFF files"
    )


def _warn(root, unreadable):
    if unreadable:
        _log.warning("%s: %d files are left out: %s", root, len(unreadable), _listed(unreadable))


def _listed(unreadable, most=5):
    named = [f"{path}: {reason}" for path, reason in unreadable[:most]]
    more = [f"and {len(unreadable) - most} more"] if len(unreadable) > most else []
    return ", ".join(named + more)
