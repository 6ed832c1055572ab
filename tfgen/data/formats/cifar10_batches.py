"""The published forms of CIFAR-10: binary or Python batches, as files or in an archive."""

from __future__ import annotations

import dataclasses
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfgen.data import local_files
from tfgen.files import open_regular

SPLITS = {
    "train": ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    "test": ("test_batch",),
}
_NAMES = (*SPLITS["train"], *SPLITS["test"])
_PIXELS = 3 * 32 * 32

# MD5 of the unpacked batches, in the order of _NAMES.
_BINARY_MD5 = (
    "5dd7e06a14cb22eb9f671a540d1b7c25",
    "5ea93a67294ea407fff1d09f752e9692",
    "942cd6a4bcdd0dd3c604fbe906cb4421",
    "ae636b3ba5c66a11e91e8cb52e771fcb",
    "53f37980c15c3d472c316c40844f3f0d",
    "803d5f7f4d78ea53de84dbe85f74fb6d",
)
_PYTHON_MD5 = (
    "c99cafc152244af753f735de768cd75f",
    "d4bba439e000b95fd0a9bffe97cbabec",
    "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a",
    "482c414d41f54cd18b22e5b47cb7c3cb",
    "40351d587109b95175f43aff81a1287e",
)


@dataclasses.dataclass
class Batches:
    """The six batches in one form.

    Attributes:
        form: a description of the form.
        paths: paths of the six files, or of the archive.
        parse: a function from the content of a batch and its path to planes `[N, 3072]` and labels
            `[N]`.
        published: MD5 of the unpacked batches.
    """

    form: str
    paths: list[Path]
    parse: Callable[[bytes, Path], tuple[np.ndarray, np.ndarray]]
    published: tuple[str, ...]
    _members: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def read(self, batch: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Reads one batch.

        Args:
            batch: a name of `SPLITS`.

        Returns:
            Images uint8 `[N, 32, 32, 3]`, labels uint8 `[N]`, and the provenance of the file.

        Raises:
            InputError: the file is damaged or lacks this batch.
        """
        position = _NAMES.index(batch)
        if len(self.paths) == 1:
            path = self.paths[0]
            if not self._members:
                self._members.update(_unpack(path))
            path, content = path / batch, self._members.pop(batch)
        else:
            path = self.paths[position]
            content = local_files.read(path)
        planes, labels = self.parse(content, path)
        if len(labels) and labels.max() > 9:
            raise local_files.damaged(path, f"a label is {labels.max()}, not 0 to 9")
        entry = local_files.provenance(path, content, self.published[position])
        return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels, entry


def find(directory: Path) -> tuple[Batches | None, str]:
    """Searches a data directory for the six batches.

    Returns:
        The batches, or None and a description of those that are present.
    """
    forms = (
        ("binary version", ".bin", _binary, _BINARY_MD5, "cifar-10-batches-bin", "binary"),
        ("Python version", "", _python, _PYTHON_MD5, "cifar-10-batches-py", "python"),
    )
    incomplete = ""
    for form, suffix, parse, published, subdirectory, archive in forms:
        for below in (f"cifar10/{subdirectory}", subdirectory, "cifar10", ""):
            found = [local_files.find(directory / below, name + suffix) for name in _NAMES]
            paths = [path for path in found if path]
            if len(paths) == len(_NAMES):
                return Batches(form, paths, parse, published), ""
            if paths and not incomplete:
                names = ", ".join(path.name for path in paths)
                incomplete = f" ({directory / below} holds only {names} of six batches)"
        for below in ("cifar10", ""):
            packed = directory / below / f"cifar-10-{archive}.tar.gz"
            if packed.is_file():
                return Batches(f"{form}, archive", [packed], parse, published), ""
    return None, incomplete


def _unpack(archive: Path) -> dict[str, bytes]:
    """All six batches of an archive, by name without suffix."""
    members = {}
    try:
        with open_regular(archive) as packed, tarfile.open(fileobj=packed) as tar:
            for member in tar:
                name = Path(member.name).name.removesuffix(".bin")
                wanted = member.isfile() and name in _NAMES
                if wanted and (file := tar.extractfile(member)):
                    members[name] = local_files.limited(file, archive / member.name)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise local_files.damaged(archive, f"the archive is broken ({error})") from None
    absent = [name for name in _NAMES if name not in members]
    if absent:
        raise local_files.damaged(archive, f"the archive lacks {', '.join(absent)}")
    return members


def _binary(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Records of one label byte and three planes (red, green, blue) of 32x32."""
    if not content or len(content) % (1 + _PIXELS):
        raise local_files.damaged(
            path,
            f"its {len(content)} bytes are not a multiple of {1 + _PIXELS}, the size of a record",
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


def _python(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A pickled dict whose `data` is uint8 [N, 3072] and whose `labels` is a list."""
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        planes, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except Exception as error:  # a damaged pickle may raise any exception
        raise local_files.damaged(
            path, f"it is not a batch of the Python version ({error})"
        ) from None
    if planes.dtype != np.uint8 or planes.shape != (len(labels), _PIXELS) or not len(labels):
        raise local_files.damaged(
            path,
            f"{planes.dtype} {planes.shape} for {len(labels)} labels, not uint8 (N, {_PIXELS})",
        )
    return planes, labels.astype(np.uint8)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickling calls the functions that the file names: here only those for NumPy arrays."""

    _allowed = (
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    )

    def find_class(self, module, name):
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it")
        if name == "_reconstruct":
            module = "numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray"
        return super().find_class(module, name)
