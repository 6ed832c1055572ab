"""Download or copy models: files are verified, interrupted downloads resumed, damage repaired."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import reprlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock

from tfgen import files
from tfgen.errors import InputError
from tfgen.files import PathLike
from tfgen.models import preset
from tfgen.models.preset import CARD, CONFIG, WEIGHTS
from tfgen.zoo import places, remotes
from tfgen.zoo.remotes import Progress

MAX_FILES = 1000  # of a model
MAX_BYTES = 2**34  # of all files of a model
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a fetch did.

    Attributes:
        directory: the directory of the model, whose every file has the digest in its card.
        state: "fetched"; "verified" if it was already there; "repaired" if files of it were not
            as the card says.
        repaired: the names of these files.
    """

    directory: Path
    state: str
    repaired: tuple[str, ...] = ()


def fetch(source: PathLike, *, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """Fetch a model to this machine, where `load` and `card` then find it by its name.

    This is the only function of the zoo that uses the network. Each file is verified by the SHA-256
    in the card, and the card by `sha256`. An interrupted download is kept, and the next call
    resumes it. The model appears in `<TFGEN_HOME>/fetched` only when it is complete. If it is
    there already, its files are verified, and those that are missing or damaged are fetched again.

    A file has the size that the card states; without a size, at most 1 GiB. All files of a model
    have at most 16 GiB. A server must send at least 64 KiB per minute, and no encoded content.

    Args:
        source: the URL (http or https) or the path of a model's directory, with its `card.json`.
        sha256: expected digest of `card.json`, in hexadecimal. With it, the whole model is known to
            be what its author published; without it, only the files are known to match the card.
        progress: function that is called with a file's name, the number of bytes received, and the
            size of the file (None if neither the card nor the server states it).

    Returns:
        The path of the model's directory.

    Raises:
        InputError: there is nothing at the source, or no card; a file's digest or size is not the
            card's (what was received of it is deleted); another model of that name and version
            exists already; the connection broke (the received data are kept); the disk is too full.

    Example:

    >>> import tfgen
    >>> directory = tfgen.zoo.fetch(tfgen.zoo.directory("vae-digits"))
    >>> directory.name
    'vae-digits@1'
    """
    return ensure(source, sha256=sha256, progress=progress).directory


def ensure(
    source: PathLike, *, sha256: str | None = None, progress: Progress | None = None
) -> Outcome:
    """Fetch, verify or repair a model: `fetch`, which returns what was done.

    >>> import tfgen
    >>> from tfgen.zoo import fetching
    >>> directory = fetching.fetch(tfgen.zoo.directory("vae-digits"))
    >>> (directory / "config.json").unlink()
    >>> fetching.ensure(tfgen.zoo.directory("vae-digits")).repaired
    ('config.json',)
    """
    remote = remotes.of(source)
    content = remote.read(CARD, files.MAX_JSON_BYTES)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise InputError(f"{remote.place(CARD)}: expected sha256 {sha256}, found {found}")
    name, listed = _parse_card(content, remote.place(CARD))
    folder = places.fetched_folder()
    with _locked(folder, name):
        target, record = folder / name, folder / f".{name}.sha256"
        present = os.path.lexists(target)
        damaged = list(listed)
        if present:
            _refuse_another_model(target, record, found)
            damaged = [f for f, entry in listed.items() if not entry.describes(target / f)]
        partial = folder / f".{name}-{found[:16]}"
        _download_all(remote, {f: listed[f] for f in damaged}, partial, progress)
        if not present:
            (partial / CARD).write_bytes(content)
            os.replace(partial, target)
        else:
            for file in damaged:
                os.replace(partial / file, target / file)
            shutil.rmtree(partial, ignore_errors=True)
            if _digest(target / CARD) != found:
                files.write_bytes(target / CARD, content)
                damaged.append(CARD)
        if _text(record) != found:
            files.write_text(record, found)
    if not present:
        return Outcome(target, "fetched")
    return Outcome(target, "repaired" if damaged else "verified", tuple(damaged))


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What a card says about a file; `size` is None in the cards of earlier versions."""

    digest: str
    size: int | None

    def describes(self, path: Path) -> bool:
        """Whether there is a regular file with this size and digest."""
        with contextlib.suppress(OSError):
            if self.size is None or path.stat().st_size == self.size:
                return _digest(path) == self.digest
        return False


def _parse_card(content, place) -> tuple[str, dict[str, _Entry]]:
    """The name with the version, and the files, from an untrusted card."""
    from tfgen.models import card_schema

    try:
        card = files.parse_json(content, place)
        card_schema.check(card, place)
    except InputError as error:
        raise InputError(f"{place} is not the card of a model: {error}") from None
    name, version = card.get("name"), card.get("version", 1)
    if name is None or places.parse(name) != (name, None):
        raise InputError(f"{place} is not the card of a model: its name is {reprlib.repr(name)}")
    sizes = card.get("sizes", {})
    for file, digest in card["files"].items():
        if not _FILE_NAME.fullmatch(file) or file == CARD or not _DIGEST.fullmatch(digest):
            raise InputError(
                f"{place}: {reprlib.repr(file)} with the digest {reprlib.repr(digest)} is not a "
                "file of a model"
            )
    listed = {f: _Entry(digest, sizes.get(f)) for f, digest in card["files"].items()}
    missing = [file for file in (CONFIG, WEIGHTS) if file not in listed]
    if missing:
        raise InputError(f"{place} does not list {missing[0]}")
    if len(listed) > MAX_FILES:
        raise InputError(f"{place} lists {len(listed):,} files; a model has at most {MAX_FILES:,}")
    total = sum(entry.size or 0 for entry in listed.values())
    if total > MAX_BYTES:
        raise InputError(f"{place} lists {total:,} bytes; a model has at most {MAX_BYTES:,}")
    return f"{name}@{version}", listed


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{name}.lock"):
            yield
    except OSError as error:
        raise InputError(
            f"cannot write to {folder} ({error.strerror or error}); set the environment variable "
            "TFGEN_HOME to a writable directory"
        ) from None


def _refuse_another_model(target, record, wanted):
    """Refuse to change a model that is not a damaged copy of the wanted one.

    The record has the digest of the card as it was fetched: a card that changed since is damaged.
    """
    if not target.is_dir():
        raise InputError(f"{target} is not a directory: delete it first")
    here, fetched = _digest(target / CARD), _text(record)
    if wanted in (here, fetched):
        return
    if fetched is None:
        try:
            preset.read_card(target)
        except InputError:
            return
    raise InputError(
        f"{target} already contains another model of this name and version: delete it first"
    )


def _download_all(
    remote: remotes.Remote, listed: Mapping[str, _Entry], partial: Path, progress: Progress | None
) -> None:
    """Download files into a directory, which keeps the complete ones if one fails."""
    partial.mkdir(exist_ok=True)
    needed = sum(entry.size or 0 for entry in listed.values())
    there = sum(path.stat().st_size for path in partial.iterdir())
    free = shutil.disk_usage(partial).free
    if needed - there > free:
        raise InputError(
            f"{remote.place(CARD)}: the model has {needed:,} bytes, and {partial.parent} has room "
            f"for {free:,}: make room, or set the environment variable TFGEN_HOME"
        )
    for file, entry in listed.items():
        if not entry.describes(partial / file):
            _download(remote, file, entry, partial / file, progress or (lambda *_: None))


def _download(remote, file, entry, path, progress):
    part = path.with_name(path.name + ".part")
    if entry.size is not None and part.exists() and part.stat().st_size > entry.size:
        part.unlink()
    try:
        remote.copy(file, part, entry.size, progress)
        if (found := files.sha256(part)) != entry.digest:
            raise remotes.RefusedError(
                f"{remote.place(file)}: expected sha256 {entry.digest}, found {found}"
            )
    except remotes.RefusedError:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, path)


def _digest(path):
    """The SHA-256 of a file, or None if there is no regular file that can be read."""
    try:
        return files.sha256(path)
    except (OSError, InputError):
        return None


def _text(path):
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return None
