"""Download or copy models: files are verified, and interrupted downloads are resumed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import filelock
import requests

from tfgen import files
from tfgen.errors import InputError
from tfgen.files import PathLike
from tfgen.models.preset import CARD, CONFIG, WEIGHTS
from tfgen.zoo import places

ATTEMPTS = 5  # per file, as long as each attempt receives something
TIMEOUT = (10, 60)  # seconds to connect, and seconds without a byte
BLOCK = 2**16  # bytes; an incomplete last block is lost when the connection breaks
LARGEST_CARD = 2**24  # bytes
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[str, int, "int | None"], object]


def fetch(source: PathLike, *, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """Fetch a model to this machine, where `load` and `card` then find it by its name.

    This is the only function of the zoo that uses the network. Each file is verified by the SHA-256
    in the card, and the card by `sha256`. An interrupted download is kept, and the next call
    resumes it. The model appears in `<TFGEN_HOME>/fetched` only when it is complete.

    Args:
        source: the URL (http or https) or the path of a model's directory, with its `card.json`.
        sha256: expected digest of `card.json`, in hexadecimal. With it, the whole model is known to
            be what its author published; without it, only the files are known to match the card.
        progress: function that is called with a file's name, the number of bytes received, and the
            size of the file (None if the server does not send it).

    Returns:
        The path of the model's directory.

    Raises:
        InputError: there is nothing at the source, or no card; a file's digest is not the card's
            (the file is deleted); another model of that name and version exists already; the
            connection broke (the received data are kept).

    Example:

    >>> import tfgen
    >>> directory = tfgen.zoo.fetch(tfgen.zoo.directory("vae-digits"))
    >>> directory.name
    'vae-digits@1'
    """
    remote = _remote(source)
    content = remote.read(CARD, LARGEST_CARD)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise InputError(f"{remote.place(CARD)}: expected sha256 {sha256}, found {found}")
    name, digests = _parse_card(content, remote.place(CARD))
    folder = places.fetched_folder()
    with _locked(folder, name):
        target = folder / name
        if (target / CARD).is_file():
            if files.sha256(target / CARD) != found:
                raise InputError(
                    f"{target} already contains another model of this name and version: delete it "
                    "first"
                )
            return target
        partial = folder / f".{name}-{found[:16]}"
        partial.mkdir(exist_ok=True)
        for file, digest in digests.items():
            _download(remote, file, digest, partial / file, progress)
        (partial / CARD).write_bytes(content)
        os.replace(partial, target)
    return target


def _remote(source) -> _Remote:
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return _Web(source)
    return _Folder(source)


def _parse_card(content, place):
    """The name with the version, and the digests of the files, from an untrusted card."""
    try:
        card = json.loads(content)
        name, version, digests = card["name"], card.get("version", 1), dict(card["files"])
        is_card = isinstance(name, str) and type(version) is int and version > 0
    except (ValueError, KeyError, TypeError, AttributeError):
        is_card = False
    if not is_card or places.parse(name)[0] is None:
        raise InputError(f"{place} is not the card of a model")
    for file, digest in digests.items():
        if not _FILE_NAME.fullmatch(file) or not _DIGEST.fullmatch(str(digest)):
            raise InputError(
                f"{place}: {file!r} with the digest {digest!r} is not a file of a model"
            )
    missing = [file for file in (CONFIG, WEIGHTS) if file not in digests]
    if missing:
        raise InputError(f"{place} does not list {missing[0]}")
    return f"{places.parse(name)[0]}@{version}", digests


@contextlib.contextmanager
def _locked(folder, name):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{name}.lock"):
            yield
    except OSError as error:
        raise InputError(
            f"cannot write to {folder} ({error.strerror or error}); set the environment variable "
            "TFGEN_HOME to a writable directory"
        ) from None


def _download(remote, file, digest, path, progress):
    if path.exists():
        return  # A file gets this name only after it was verified.
    part = path.with_name(path.name + ".part")
    remote.copy(file, part, progress or (lambda *_: None))
    found = files.sha256(part)
    if found != digest:
        part.unlink()
        raise InputError(f"{remote.place(file)}: expected sha256 {digest}, found {found}")
    os.replace(part, path)


class _Remote(Protocol):
    """Where the files of a model come from."""

    def place(self, file: str) -> str | Path:
        """The location of a file, for messages."""

    def read(self, file: str, limit: int) -> bytes:
        """The content of a small file."""

    def copy(self, file: str, part: Path, progress: Progress) -> None:
        """Copy a file, or the rest of it, to `part`."""


class _Folder:
    def __init__(self, path):
        self._path = files.expanded(path)
        if not self._path.is_dir():
            raise InputError(f"fetch: {path} is neither a directory nor an http or https URL")

    def place(self, file):
        return self._path / file

    def read(self, file, limit):
        try:
            return self.place(file).read_bytes()[:limit]
        except OSError as error:
            raise InputError(f"{self.place(file)}: {error.strerror}") from None

    def copy(self, file, part, progress):
        try:
            shutil.copyfile(self.place(file), part)
        except FileNotFoundError:
            raise InputError(f"{self.place(file)} is missing: the card lists it") from None
        progress(file, part.stat().st_size, part.stat().st_size)


class _Web:
    def __init__(self, url):
        self._url = url.rstrip("/")

    def place(self, file):
        return f"{self._url}/{file}"

    def read(self, file, limit):
        with self._get(file) as response:
            content = b""
            for block in self._blocks(response):
                content += block
                if len(content) > limit:
                    raise InputError(f"{self.place(file)} is larger than {limit:,} bytes")
        return content

    def copy(self, file, part, progress):
        """Resume at the end of the part; retry broken connections while there is progress."""
        for attempt in range(1, ATTEMPTS + 1):
            before = _size(part)
            try:
                self._copy_once(file, part, progress)
            except _BrokenError as error:
                if attempt == ATTEMPTS or _size(part) <= before:
                    raise InputError(
                        f"{self.place(file)}: {error}; {_size(part):,} bytes are kept, and the "
                        "next fetch resumes there"
                    ) from None
            else:
                return

    def _copy_once(self, file, part, progress):
        start = _size(part)
        with self._get(file, start) as response:
            if response.status_code == requests.codes.range_not_satisfiable:
                return  # The part is complete, or too long: its digest decides.
            if response.status_code != requests.codes.partial_content:
                start = 0  # A server without ranges starts from the beginning.
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise InputError(
                    f"{self.place(file)}: requested from byte {start}, the response starts "
                    f"elsewhere: {response.headers.get('Content-Range')!r}"
                )
            length = response.headers.get("Content-Length")
            total = start + int(length) if length and length.isdigit() else None
            with open(part, "r+b" if start else "wb") as out:
                out.seek(start)
                for block in self._blocks(response):
                    out.write(block)
                    start += len(block)
                    progress(file, start, total)

    @contextlib.contextmanager
    def _get(self, file, start=0) -> Iterator[requests.Response]:
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            response = requests.get(self.place(file), headers=headers, stream=True, timeout=TIMEOUT)
        except requests.RequestException as error:
            if start:
                raise _BrokenError(_reason(error)) from None
            raise InputError(f"{self.place(file)}: {_reason(error)}") from None
        with response:
            beyond = start and response.status_code == requests.codes.range_not_satisfiable
            if not response.ok and not beyond:
                raise InputError(
                    f"{self.place(file)}: the server answered {response.status_code} "
                    f"{response.reason}"
                )
            yield response

    @staticmethod
    def _blocks(response):
        try:
            yield from response.iter_content(BLOCK)
        except requests.RequestException as error:
            raise _BrokenError(f"the connection broke: {_reason(error)}") from None


class _BrokenError(InputError):
    """The connection broke; the received data are kept."""


def _reason(error):
    """The innermost cause in the message of an exception of `requests`."""
    cause = " ".join(str(error).split()).rsplit(": ", 1)[-1].strip("()'\"")
    return cause or type(error).__name__


def _size(path):
    return path.stat().st_size if path.exists() else 0
