"""Prepared data sets: written once, under a lock; what is incomplete is written anew."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import filelock
import tensorflow_datasets as tfds

from tfgen.data.builder import ImageBuilder, quiet
from tfgen.errors import InputError
from tfgen.files import home

_RECORD_OVERHEAD = 16  # bytes around each TFRecord: its length and two checksums


def prepared(
    builder_class: type[ImageBuilder],
    key: object,
    make: Callable[[str], ImageBuilder],
) -> tfds.core.DatasetBuilder:
    """Opens the prepared data of a builder, preparing it first if need be.

    Args:
        builder_class: gives the name and the version.
        key: JSON-able; everything else that the content depends on (options; path, size and time
            of each local file). Another key is another folder.
        make: from the TFDS `data_dir` to the builder; called only to prepare.

    Raises:
        InputError: the cache folder cannot be written to, or what `make` or its builder raise.
    """
    name, version = builder_class.name, str(builder_class.VERSION)
    digest = hashlib.sha256(json.dumps([name, version, key]).encode()).hexdigest()
    root = home() / "datasets" / f"{name}-{digest[:16]}"
    folder = root / name / version
    if not _complete(folder):
        with lock(root.name):
            if not _complete(folder):
                shutil.rmtree(root, ignore_errors=True)
                with quiet():
                    make(str(root)).download_and_prepare()
    with quiet():
        return tfds.builder_from_directory(str(folder))


@contextlib.contextmanager
def lock(name: str):
    """Holds a lock between processes, beside the prepared data.

    Raises:
        InputError: the cache folder cannot be written to.
    """
    folder = home() / "datasets"
    held = filelock.FileLock(folder / f"{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except OSError as error:
        raise InputError(
            f"cannot keep prepared data in {folder} ({error.strerror or error}); "
            "set the environment variable TFGEN_HOME to a folder that can be written to"
        ) from None
    try:
        yield
    finally:
        held.release()


def _complete(folder: Path) -> bool:
    """Whether the description is there and every record file has the size it should have."""
    if not (folder / "dataset_info.json").is_file():
        return False
    with quiet():
        splits = tfds.builder_from_directory(str(folder)).info.splits
    for split in splits.values():
        expected = split.num_bytes + _RECORD_OVERHEAD * split.num_examples
        files = [Path(path) for path in split.filepaths]
        if not all(file.is_file() for file in files):
            return False
        if sum(file.stat().st_size for file in files) != expected:
            return False
    return True
