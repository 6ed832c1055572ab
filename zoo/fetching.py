"""Models from elsewhere: verified, resumed after an interruption, whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import shutil

import filelock
import requests

from tfgen.errors import InputError
from tfgen.files import expanded
from tfgen.models.preset import CARD, CONFIG, WEIGHTS, sha256
from tfgen.zoo import places

ATTEMPTS = 5  # for each file, as long as each brings something
TIMEOUT = (10, 60)  # seconds to connect, and without a byte
BLOCK = 2**16  # bytes; what came of the last one is lost when the connection breaks
LARGEST_CARD = 2**24  # bytes
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def fetch(source, *, sha256=None, progress=None):
    """Bring a model to this machine, where `load` and `card` then find it by its name.

    This is the only function of the zoo that touches the network. Each file is verified by the
    SHA-256 in the card, and the card by `sha256`. What an interruption leaves is kept, and the next
    call goes on from there; the model appears in `<TFGEN_HOME>/fetched` when all of it is there.

    Args:
        source: the address (http or https) or the path of a model's folder, with its `card.json`.
        sha256: of `card.json`, in hexadecimal: with it the whole model is what its author
            published, whoever sends it. Without, the files are what the card says, no more.
        progress: is called with a file's name, the bytes of it that are there, and of how many
            (None where the sender does not say).

    Returns:
        The path of the model's directory.

    Raises:
        InputError: nothing there, an answer that is no card, a file with another digest than the
            card says (which is deleted), another model of that name and version there already, a
            connection that broke (what came is kept).

    Example:

    >>> import tfgen
    >>> directory = tfgen.zoo.fetch(tfgen.zoo.directory("vae-digits"))
    >>> directory.name
    'vae-digits@1'
    """
    remote = _Web(source) if _is_address(source) else _Folder(source)
    content = remote.read(CARD, LARGEST_CARD)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise InputError(f"{remote.place(CARD)}: expected sha256 {sha256}, found {found}")
    name, files = _checked(content, remote.place(CARD))
    folder = places.cache_folder()
    with _locked(folder, name):
        target = folder / name
        if (target / CARD).is_file():
            return _present(target, found)
        partial = folder / f".{name}-{found[:16]}"
        partial.mkdir(exist_ok=True)
        for file, digest in files.items():
            _bring(remote, file, digest, partial / file, progress)
        (partial / CARD).write_bytes(content)
        os.replace(partial, target)
    return target


def _is_address(source):
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def _checked(content, place):
    """The name with the version, and the digests of the files, of a card from elsewhere."""
    try:
        card = json.loads(content)
        name, version, files = card["name"], card.get("version", 1), dict(card["files"])
        is_card = isinstance(name, str) and type(version) is int and version > 0
    except (ValueError, KeyError, TypeError, AttributeError):
        is_card = False
    if not is_card or places.parse(name)[0] is None:
        raise InputError(f"{place} is not the card of a model")
    for file, digest in files.items():
        if not _PLAIN.fullmatch(file) or not _DIGEST.fullmatch(str(digest)):
            raise InputError(f"{place}: {file!r} with the digest {digest!r} is no file of a model")
    missing = [file for file in (CONFIG, WEIGHTS) if file not in files]
    if missing:
        raise InputError(f"{place} lists no {missing[0]}")
    return f"{places.parse(name)[0]}@{version}", files


@contextlib.contextmanager
def _locked(folder, name):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{name}.lock"):
            yield
    except OSError as error:
        raise InputError(
            f"cannot keep models in {folder} ({error.strerror or error}); set the environment "
            "variable TFGEN_HOME to a folder that can be written to"
        ) from None


def _present(target, expected):
    if sha256(target / CARD) != expected:
        raise InputError(
            f"{target} already holds another model of this name and version: delete it first"
        )
    return target


def _bring(remote, file, digest, path, progress):
    if path.exists():
        return  # It was verified before it got this name.
    part = path.with_name(path.name + ".part")
    remote.copy(file, part, progress or (lambda *_: None))
    found = sha256(part)
    if found != digest:
        part.unlink()
        raise InputError(f"{remote.place(file)}: expected sha256 {digest}, found {found}")
    os.replace(part, path)


class _Folder:
    def __init__(self, path):
        self._path = expanded(path)
        if not self._path.is_dir():
            raise InputError(f"fetch: {path} is no folder and no http or https address")

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
            raise InputError(
                f"{self.place(file)}: the card lists it, and it is not there"
            ) from None
        progress(file, part.stat().st_size, part.stat().st_size)


class _Web:
    def __init__(self, address):
        self._address = address.rstrip("/")

    def place(self, file):
        return f"{self._address}/{file}"

    def read(self, file, limit):
        with self._asked(file) as answer:
            content = b""
            for block in self._blocks(file, answer):
                content += block
                if len(content) > limit:
                    raise InputError(f"{self.place(file)} is larger than {limit:,} bytes")
        return content

    def copy(self, file, part, progress):
        """Go on where the part ends; again after a break, as long as there is progress."""
        for attempt in range(1, ATTEMPTS + 1):
            before = _size(part)
            try:
                self._copy_once(file, part, progress)
            except _BrokenError as error:
                if attempt == ATTEMPTS or _size(part) <= before:
                    raise InputError(
                        f"{self.place(file)}: {error}; {_size(part):,} bytes of it are kept, and "
                        "another fetch goes on from there"
                    ) from None
            else:
                return

    def _copy_once(self, file, part, progress):
        start = _size(part)
        with self._asked(file, start) as answer:
            if answer.status_code == requests.codes.range_not_satisfiable:
                return  # All of it is there, or too much: its digest will tell.
            if answer.status_code != requests.codes.partial_content:
                start = 0  # A sender that knows no ranges begins again.
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise InputError(
                    f"{self.place(file)}: asked from byte {start}, the answer begins elsewhere: "
                    f"{answer.headers.get('Content-Range')!r}"
                )
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length and length.isdigit() else None
            with open(part, "r+b" if start else "wb") as out:
                out.seek(start)
                for block in self._blocks(file, answer):
                    out.write(block)
                    start += len(block)
                    progress(file, start, total)

    @contextlib.contextmanager
    def _asked(self, file, start=0):
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            answer = requests.get(self.place(file), headers=headers, stream=True, timeout=TIMEOUT)
        except requests.RequestException as error:
            if start:
                raise _BrokenError(_reason(error)) from None
            raise InputError(f"{self.place(file)}: {_reason(error)}") from None
        with answer:
            beyond = start and answer.status_code == requests.codes.range_not_satisfiable
            if not answer.ok and not beyond:
                raise InputError(
                    f"{self.place(file)}: the server answers {answer.status_code} {answer.reason}"
                )
            yield answer

    def _blocks(self, file, answer):
        try:
            yield from answer.iter_content(BLOCK)
        except requests.RequestException as error:
            raise _BrokenError(f"the connection broke: {_reason(error)}") from None


class _BrokenError(InputError):
    """The connection broke; what came is kept."""


def _reason(error):
    """The innermost cause of what `requests` tells."""
    cause = " ".join(str(error).split()).rsplit(": ", 1)[-1].strip("()'\"")
    return cause or type(error).__name__


def _size(path):
    return path.stat().st_size if path.exists() else 0
