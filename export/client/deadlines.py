"""HTTP connections that share one deadline for all that they do, and its limit of bytes."""

from __future__ import annotations

import http.client
import io
import socket
import time
from contextvars import ContextVar
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

# When the request of this thread ends, on the clock of `time.monotonic()`. The timeouts of
# requests and urllib3 are those of single waits, which a server that drips never exceeds.
END: ContextVar[float] = ContextVar("end")


def left() -> float:
    """The seconds that are left for the request of this thread, at least a millisecond."""
    return max(END.get() - time.monotonic(), 0.001)


def session() -> requests.Session:
    """A session whose requests end at `END`, apart from the look-up of a host's name."""
    found = requests.Session()
    for scheme in ("http://", "https://"):
        found.mount(scheme, _Adapter())
    return found


class _Bytes(io.RawIOBase):
    """What a socket receives until the deadline."""

    def __init__(self, connection):
        self._connection, self._file = connection, connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer):
        if END.get() <= time.monotonic():
            raise TimeoutError("timed out")
        self._connection.settimeout(left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._file.close()


class _Source:
    """A socket for `http.client.HTTPResponse`, which only makes a file of it."""

    def __init__(self, connection):
        self._connection = connection

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Bytes(self._connection))


class _Response(http.client.HTTPResponse):
    def __init__(self, connection: Any, *arguments: Any, **options: Any):
        super().__init__(_Source(connection), *arguments, **options)  # type: ignore[arg-type]


class _WithDeadline:
    response_class: Any = _Response

    def _new_conn(self: Any) -> socket.socket:
        """Connect to one of the addresses of a host; all of them share the deadline."""
        try:
            host = self._dns_host.strip("[]")
            found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
            error: OSError = OSError("it has no address")
            for family, kind, protocol, _, address in found:
                connection = socket.socket(family, kind, protocol)
                try:
                    for option in self.socket_options or ():
                        connection.setsockopt(*option)
                    connection.settimeout(left())
                    connection.connect(address)
                    return connection
                except OSError as failed:
                    connection.close()
                    error = failed
            raise error
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, f"no connection: {error}") from error


class _Connection(_WithDeadline, HTTPConnection):
    pass


class _SecureConnection(_WithDeadline, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
