"""Where fetched files come from: a web server or a folder, neither of which is trusted.

Nothing is received without a limit. A file has the size that its card states, and otherwise at most
`MAX_BYTES_WITHOUT_SIZE`. A server has `STALL` seconds for its headers and for each block.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin

import requests

from tfgen import files
from tfgen.errors import InputError
from tfgen.files import PathLike

ATTEMPTS = 5  # per file, as long as each attempt receives something
TIMEOUT = (10, 60)  # seconds to connect, and seconds without a byte
BLOCK = 2**16  # bytes; an incomplete last block is lost when the connection breaks
STALL = 60  # seconds for the headers, and for each block: at least 1,092 bytes/s
MAX_CARD_SECONDS = 60
MAX_REDIRECTS = 30
MAX_BYTES_WITHOUT_SIZE = 2**30  # of a file whose card states no size

Progress = Callable[[str, int, "int | None"], object]


class RefusedError(InputError):
    """The answer contradicts the card or the request; what was received is worthless."""


class Remote(Protocol):
    """Where the files of a model come from."""

    def place(self, file: str) -> str | Path:
        """The location of a file, for messages."""

    def read(self, file: str, limit: int) -> bytes:
        """The content of a small file."""

    def copy(self, file: str, part: Path, size: int | None, progress: Progress) -> None:
        """Copy a file of that size, or the rest of it, to `part`.

        Raises:
            RefusedError: the answer contradicts the card or the request.
            InputError: there is no answer, or the connection broke; `part` can be resumed.
        """


def of(source: PathLike) -> Remote:
    """The web server or the folder that a source names."""
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return _Web(source)
    return _Folder(source)


def _check_size(place, found, size):
    """Compare the number of bytes that were announced with that in the card."""
    if size is None and found > MAX_BYTES_WITHOUT_SIZE:
        raise RefusedError(
            f"{place} has {found:,} bytes, and a file whose size its card does not state may have "
            f"{MAX_BYTES_WITHOUT_SIZE:,}: its author can save the model again, which writes sizes"
        )
    if size is not None and found != size:
        raise RefusedError(f"{place} has {found:,} bytes, but the card states {size:,}")


def _check_limit(place, received, size):
    limit = MAX_BYTES_WITHOUT_SIZE if size is None else size
    if received > limit:
        raise RefusedError(f"{place} has more than the {limit:,} bytes that are allowed")


class _Folder:
    def __init__(self, path):
        self._path = files.expanded(path)
        if not self._path.is_dir():
            raise InputError(f"fetch: {path} is neither a directory nor an http or https URL")

    def place(self, file):
        return self._path / file

    def read(self, file, limit):
        with self._opened(file) as stream:
            content = stream.read(limit + 1)
        _check_limit(self.place(file), len(content), limit)
        return content

    def copy(self, file, part, size, progress):
        with self._opened(file) as stream, open(part, "wb") as out:
            total = os.fstat(stream.fileno()).st_size
            _check_size(self.place(file), total, size)
            received = 0
            while block := stream.read(BLOCK):
                received += len(block)
                _check_limit(self.place(file), received, size)
                out.write(block)
                progress(file, received, total)

    def _opened(self, file):
        try:
            return files.open_regular(self.place(file))
        except FileNotFoundError:
            raise InputError(
                f"{self.place(file)}: No such file: is {self._path} complete?"
            ) from None
        except OSError as error:
            raise InputError(f"{self.place(file)}: {error.strerror or error}") from None


class _Web:
    def __init__(self, url):
        self._url = url.rstrip("/")

    def place(self, file):
        return f"{self._url}/{file}"

    def read(self, file, limit):
        with self._answer(file) as answer:
            content = b""
            end = time.monotonic() + MAX_CARD_SECONDS
            for block in answer.blocks(end):
                content += block
                _check_limit(self.place(file), len(content), limit)
        return content

    def copy(self, file, part, size, progress):
        """Resume at the end of the part; retry broken connections while there is progress."""
        for attempt in range(1, ATTEMPTS + 1):
            before = _size(part)
            try:
                return self._copy_once(file, part, size, progress)
            except _BrokenError as error:
                if not error.can_be_retried or attempt == ATTEMPTS or _size(part) <= before:
                    raise InputError(
                        f"{self.place(file)}: {error}; {_size(part):,} bytes are kept, and the "
                        "next fetch resumes there"
                    ) from None
        return None

    def _copy_once(self, file, part, size, progress):
        start = _size(part)
        with self._answer(file, start) as answer:
            if answer.status == requests.codes.range_not_satisfiable:
                return  # The part is complete, or too long: its digest decides.
            if answer.status != requests.codes.partial_content:
                start = 0  # A server without ranges starts from the beginning.
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise RefusedError(
                    f"{self.place(file)}: requested from byte {start}, the response starts "
                    f"elsewhere: {answer.headers.get('Content-Range')!r}"
                )
            length = answer.headers.get("Content-Length", "")
            total = start + int(length) if length.isdecimal() and len(length) < 20 else None
            if total is not None:
                _check_size(self.place(file), total, size)
            with open(part, "r+b" if start else "wb") as out:
                out.seek(start)
                for block in answer.blocks():
                    start += len(block)
                    _check_limit(self.place(file), start, size)
                    out.write(block)
                    progress(file, start, total if size is None else size)
            if size is not None and start < size:
                raise _BrokenError(f"the connection ended after {start:,} of {size:,} bytes")

    @contextlib.contextmanager
    def _answer(self, file, start=0) -> Iterator[_Answer]:
        # An encoding would hide the size of the file: a small gzip answer can be a huge file.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        place = self.place(file)
        with contextlib.closing(_Answer(place, headers)) as answer:
            try:
                answer.wait_for_headers()
            except _BrokenError as error:
                if start:
                    raise
                raise InputError(f"{place}: {error}") from None
            beyond = start and answer.status == requests.codes.range_not_satisfiable
            if not beyond and answer.status not in (200, 206):
                reason = f"{answer.status} {answer.reason}".strip()
                raise InputError(f"{place}: the server answered {reason}")
            encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
            if encoding not in ("", "identity"):
                raise RefusedError(
                    f"{place}: the server answered in the encoding {encoding[:40]!r}, which was "
                    "not asked for: publish the files on a server that sends them as they are"
                )
            yield answer


class _BrokenError(InputError):
    """The connection broke or is too slow; the received data are kept."""

    def __init__(self, message: str, can_be_retried: bool = True) -> None:
        super().__init__(message)
        self.can_be_retried = can_be_retried


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: `_Answer` follows redirects, without reading their bodies, as requests would."""
        return


class _Answer:
    """An answer that a thread receives, so that a server cannot hold up the caller.

    Timeouts of sockets restart at every byte, and a read of a block ends with its last byte.
    """

    status: int
    reason: str
    headers: requests.structures.CaseInsensitiveDict

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._items: queue.Queue = queue.Queue(maxsize=8)
        self._closed = threading.Event()
        threading.Thread(target=self._receive, args=(url, headers), daemon=True).start()

    def wait_for_headers(self) -> None:
        self.status, self.reason, self.headers = self._next(STALL, f"no answer in {STALL} s")

    def blocks(self, end: float | None = None) -> Iterator[bytes]:
        """The body, in blocks; `end` is the `time.monotonic()` at which it must be complete."""
        while True:
            seconds = STALL if end is None else min(STALL, max(0, end - time.monotonic()))
            block = self._next(seconds, f"the server sent less than {BLOCK:,} bytes in {STALL} s")
            if block is None:
                return
            yield block

    def close(self) -> None:
        """Ends the thread at its next byte."""
        self._closed.set()

    def _next(self, seconds, problem):
        try:
            item = self._items.get(timeout=seconds)
        except queue.Empty:
            raise _BrokenError(problem, can_be_retried=False) from None
        if isinstance(item, Exception):
            raise item
        return item

    def _receive(self, url, headers):
        sent_headers = False
        try:
            with _Session() as session, self._final(session, url, headers) as response:
                self._put((response.status_code, response.reason or "", response.headers))
                sent_headers = True
                for block in response.iter_content(BLOCK):
                    self._put(block)
            self._put(None)
        except _ClosedError:
            pass
        except Exception as error:
            with contextlib.suppress(_ClosedError):
                prefix = "the connection broke: " if sent_headers else ""
                self._put(_BrokenError(prefix + _reason(error)))

    def _final(self, session, url, headers):
        """The response after redirects, of which a fetch follows `MAX_REDIRECTS`."""
        for _ in range(MAX_REDIRECTS + 1):
            response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
            location = response.headers.get("Location")
            if not response.is_redirect or location is None:
                return response
            response.close()
            url = urljoin(url, location)
        raise requests.TooManyRedirects(f"more than {MAX_REDIRECTS} redirects")

    def _put(self, item):
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                return self._items.put(item, timeout=0.5)
        raise _ClosedError


class _ClosedError(Exception):
    """The caller of a transfer has left."""


def _reason(error):
    """The innermost cause in the message of an exception of `requests`."""
    cause = " ".join(str(error).split()).rsplit(": ", 1)[-1].strip("()'\"")
    return cause[:200] or type(error).__name__


def _size(path):
    return path.stat().st_size if path.exists() else 0
