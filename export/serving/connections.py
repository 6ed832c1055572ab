"""Connections to the REST port: how many are open, and how long each may wait for its client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tfgen.export.serving.flags import Flags

LOG = logging.getLogger(__name__)
BACKLOG = 1024  # connections that wait in the kernel while as many as allowed are open
IDLE_ENOUGH = 1.0  # seconds after which an idle connection makes room for another
PAUSE = 0.1  # seconds until the next attempt to accept a connection
QUIET = 60.0  # seconds between two messages about too many connections
GRACE = 10.0  # seconds in which requests may end when the server stops
NOW = struct.pack("ii", 1, 0)  # closing discards what the client has not read
_ERROR = b'{"error": "The header of the request did not arrive in time"}'
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_ERROR), _ERROR)
)


def limit(flags: Flags, part: int = 2) -> int:
    """The number of connections that a port takes: `max_connections`, but not all of the files.

    Each connection is an open file. A process may open as many as `ulimit -n` says, and of these a
    port takes one in `part` at most.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return flags.max_connections
    return max(1, min(flags.max_connections, files // part))


class Connections(web.Server):
    """Sockets that listen, and the connections that they accept.

    No client keeps a connection by being slow. The header of a request must arrive within
    `rest_api_header_timeout_in_ms` of its first byte, the first one within this time of the
    connection; a connection may be idle between requests for `rest_api_idle_timeout_in_ms`; and a
    client must read its answer within `rest_api_timeout_in_ms`. These are limits of the sum of all
    waits, not of each. The handler has the remaining one: the body of a request.

    While `limit(flags)` connections are open, further ones wait, first in the kernel; connections
    that have been idle for a second are closed to make room, and others after their next answer.
    The same holds while no file can be opened (EMFILE). A handler is cancelled when its client
    closes the connection.

    Args:
        handler: answers a request.
        flags: the server's flags.
        options: those of `aiohttp.web.Server`.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        flags: Flags,
        **options: Any,
    ):
        super().__init__(self._answered, handler_cancellation=True, **options)
        self._handler = handler
        self._limit = limit(flags)
        self._seconds = {
            "header": flags.rest_api_header_timeout_in_ms / 1000,
            "idle": flags.rest_api_idle_timeout_in_ms / 1000,
            "answer": flags.rest_api_timeout_in_ms / 1000,
        }
        self._options = {**options, "lingering_time": min(GRACE, self._seconds["header"])}
        self._options.pop("request_factory", None)
        self.open: set[Connection] = set()
        self.closed = asyncio.Event()
        self._is_full = False
        self._next_message = 0.0
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task] = []

    def __call__(self) -> Connection:
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)

    async def listen(self, host: str, port: int) -> int:
        """Accept connections to an address, and return its port.

        Raises:
            OSError: it is in use or unknown.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            self._sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            listening.setblocking(False)
        self._tasks = [loop.create_task(self._accept(listening)) for listening in self._sockets]
        self._tasks.append(loop.create_task(self._watch()))
        return self._sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Accept no more connections, answer the requests that have arrived, and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listening in self._sockets:
            listening.close()
        await asyncio.sleep(0)  # the requests that have arrived begin
        self.pre_shutdown()
        await self.shutdown(GRACE)

    async def _answered(self, request):
        connection = request.protocol
        connection.handling = True
        try:
            response = await self._handler(request)
        finally:
            connection.has_answered()
        if self._is_full:
            response.force_close()
        return response

    async def _accept(self, listening):
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except ConnectionAbortedError:
                continue
            except OSError as error:  # such as EMFILE, until a file is closed
                await self._room(f"no connection can be accepted: {error.strerror}")
                continue
            try:
                while len(self.open) >= self._limit:
                    await self._room(f"{len(self.open)} connections are open")
                await loop.connect_accepted_socket(self, accepted)
            except OSError:  # The client has gone.
                accepted.close()
            except BaseException:
                accepted.close()
                raise

    async def _room(self, reason):
        """Wait for a connection to close, for a moment."""
        now = time.monotonic()
        if now >= self._next_message:
            LOG.warning("%s; others wait (--max_connections, ulimit -n)", reason)
        self._next_message = now + QUIET
        for connection in self.open:
            if connection.waits_for == "idle" and now - connection.since >= IDLE_ENOUGH:
                connection.end()
        self._is_full = True
        self.closed.clear()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.closed.wait(), PAUSE)
        self._is_full = False

    async def _watch(self):
        """Close connections whose client is too slow."""
        interval = min(1.0, min(self._seconds.values()) / 4)
        while True:
            await asyncio.sleep(interval)
            now = time.monotonic()
            for connection in list(self.open):
                kind = connection.waits_for
                if kind is not None and now - connection.since > self._seconds[kind]:
                    connection.end()


class Connection(web.RequestHandler):
    """A connection that knows for what it waits, and since when.

    Attributes:
        handling: whether a request is being answered, which has its own deadline.
        since: when the connection began to wait, on the clock of `time.monotonic()`.
    """

    __slots__ = ("_begun", "_new", "_peer", "_server", "handling", "since")

    def __init__(self, server: Connections, **options: Any):
        super().__init__(server, **options)
        self._server = server
        self.handling, self._begun, self._new = False, False, True
        self.since = time.monotonic()

    @property
    def waits_for(self) -> str | None:
        """For a header, for the next request, or for the client to read its answer; or nothing."""
        if self.handling:
            return None
        if self.writing_paused or self._peer.is_closing():
            return "answer"
        return "header" if self._begun or self._new else "idle"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._peer: Any = transport
        self._server.open.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.open.discard(self)
        self._server.closed.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and not (self.handling or self._begun):
            self._begun, self.since = True, time.monotonic()
        super().data_received(data)

    def has_answered(self) -> None:
        """Note that the next request may begin."""
        self.handling = self._begun = self._new = False
        self.since = time.monotonic()

    def end(self) -> None:
        """Close the connection: at once if the client does not read, else with an answer."""
        if self.waits_for == "answer":
            peer = self._peer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
            self._peer.abort()
            return
        if self._begun:
            self._peer.write(TOO_SLOW)
        self._peer.close()
        self.since = time.monotonic()
