"""Data sets in tfgen's cache: written once, under a lock, and checked when they are opened."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tensorflow_datasets as tfds

from tfgen.data.dataset import Dataset
from tfgen.data.formats.raw_records import RawRecordReader
from tfgen.errors import InputError
from tfgen.files import home, reason_in

Examples = Iterable[tuple[np.ndarray, Mapping[str, Any]]]  # of (image, labels), in their order

_RECORD_OVERHEAD = 16  # bytes around each TFRecord: its length and two checksums


@dataclasses.dataclass
class Content:
    """The images and labels that a source stores.

    Attributes:
        image_shape: (H, W, C).
        labels: for each label the names of its classes, or its dtype if it is a number.
        splits: for each split its examples: images uint8 `[H, W, C]` with a value for each label.
        metadata: JSON-serializable, part of the data set's provenance: "source", "split", "files",
            "unreadable". The iterables of `splits` may add to it while they are read.
    """

    image_shape: tuple[int, ...]
    labels: dict[str, Sequence[str] | type[np.generic]]
    splits: dict[str, Examples]
    metadata: dict[str, Any]


def stored(
    builder: str,
    key: object,
    make: Callable[[], Content],
    *,
    options: dict[str, Any],
    name: str | None = None,
) -> Dataset:
    """Opens a data set in the cache, writing it first if it is missing or incomplete.

    Only one process writes; others wait for it.

    Args:
        builder: name of the source, recorded in the provenance.
        key: JSON-serializable, everything else that the content depends on, such as options, or the
            path, size and modification time of each local file. Each key has a directory of its
            own.
        make: returns the `Content`; called only if the data set must be written.
        options: recorded in the provenance.
        name: name of the data set; by default that of the source.

    Raises:
        InputError: the cache cannot be written to, or what `make` and its examples raise.
    """
    version = str(_Builder.VERSION)
    digest = hashlib.sha256(json.dumps([builder, version, key]).encode()).hexdigest()
    root = home() / "datasets" / f"{builder}-{digest[:16]}"
    directory = root / builder / version
    if not _is_complete(directory):
        with lock(root.name):
            if not _is_complete(directory):
                shutil.rmtree(root, ignore_errors=True)
                _write(builder, make(), root)
    return _opened(directory, name or builder, options)


def _write(builder: str, content: Content, root: Path) -> None:
    try:
        with quiet():
            _Builder(builder, content, data_dir=str(root)).download_and_prepare()
    except BaseException as error:
        shutil.rmtree(root, ignore_errors=True)
        # TFDS gives the message of TensorFlow's errors to errors of its own.
        is_own = isinstance(error, InputError) or not isinstance(error, Exception)
        reason = None if is_own else reason_in(str(error))
        if reason is None:
            raise
        raise _cannot_store(root, os.strerror(reason)) from error


def _cannot_store(directory: Path, reason: str) -> InputError:
    return InputError(
        f"cannot store data sets in {directory} ({reason}); set the environment variable "
        "TFGEN_HOME to a writable directory on a disk with enough space"
    )


def _opened(directory: Path, name: str, options: dict[str, Any]) -> Dataset:
    with quiet():
        builder = tfds.builder_from_directory(str(directory))
    info = builder.info
    metadata = dict(info.metadata)
    unreadable = [(path, reason) for path, reason in metadata.pop("unreadable", [])]
    counts = {split: info.splits[split].num_examples for split in info.splits}
    order = [split for split in ("train", "validation", "test") if split in counts]
    return Dataset(
        name=name,
        image_shape=tuple(info.features["image"].shape),
        splits={split: counts[split] for split in order},
        provenance={
            "name": name,
            "builder": info.name,
            "version": str(info.version),
            "options": options,
            **metadata,
            "unreadable_files": len(unreadable),
        },
        unreadable=unreadable,
        _reader=RawRecordReader(builder),
        _ranges={split: (split, 0, counts[split]) for split in order},
    )


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes a `Content` with TFDS, image by image, as raw bytes.

    Compared with PNG, raw bytes of MNIST take a fifth of the time to write, no time to decode, and
    two and a half times the disk space.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos = None  # TFDS must not search for checksums of downloads

    def __init__(self, name: str, content: Content, *, data_dir: str) -> None:
        self.name, self._content = name, content
        super().__init__(data_dir=data_dir)

    def _info(self):
        image = tfds.features.Tensor(
            shape=self._content.image_shape,
            dtype=np.uint8,
            encoding=tfds.features.Encoding.BYTES,
        )
        labels = {
            key: kind if isinstance(kind, type) else tfds.features.ClassLabel(names=list(kind))
            for key, kind in self._content.labels.items()
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, **labels}),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        return {split: self._numbered(pairs) for split, pairs in self._content.splits.items()}

    def _numbered(self, pairs):
        for position, (image, labels) in enumerate(pairs):
            yield position, {"image": image, **labels}
        self.info.metadata.update(self._content.metadata)

    def _generate_examples(self):
        raise NotImplementedError("abstract in TFDS; `_split_generators` gives the examples")


def _is_complete(directory: Path) -> bool:
    """Whether the description exists and the record files have the sizes that it implies."""
    if not (directory / "dataset_info.json").is_file():
        return False
    with quiet():
        splits = tfds.builder_from_directory(str(directory)).info.splits
    for split in splits.values():
        expected = split.num_bytes + _RECORD_OVERHEAD * split.num_examples
        files = [Path(path) for path in split.filepaths]
        if not all(file.is_file() for file in files):
            return False
        if sum(file.stat().st_size for file in files) != expected:
            return False
    return True


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Holds a lock in the cache that excludes other processes.

    Raises:
        InputError: the cache cannot be written to.
    """
    directory = home() / "datasets"
    held = filelock.FileLock(directory / f"{name}.lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except OSError as error:
        raise _cannot_store(directory, error.strerror or str(error)) from None
    try:
        yield
    finally:
        held.release()


_silenced = contextlib.ExitStack()
_num_silencing = 0
_silencing_lock = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS from printing banners, progress bars and warnings; threads may overlap."""
    global _num_silencing
    with _silencing_lock:
        _num_silencing += 1
        if _num_silencing == 1:
            _silence(_silenced)
    try:
        yield
    finally:
        with _silencing_lock:
            _num_silencing -= 1
            if _num_silencing == 0:
                _silenced.close()


def _silence(stack: contextlib.ExitStack) -> None:
    """Silences TFDS; closing the stack restores the earlier settings."""
    progress_bar = getattr(tfds.core.utils.tqdm_utils, "_active", True)
    logger = logging.getLogger("absl")
    stack.callback(tfds.display_progress_bar, progress_bar)
    stack.callback(logger.setLevel, logger.level)
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    tfds.disable_progress_bar()
    logger.setLevel(logging.ERROR)
