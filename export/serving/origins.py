"""Which requests of browsers are answered: those of the server's own page, under its own names."""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from typing import NamedTuple

from aiohttp import web

from tfgen.export.serving.flags import Flags
from tfgen.export.serving.statuses import HTTP

HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(:[0-9]*)?")
OTHER_SITES = ("cross-site", "same-site")  # values of Sec-Fetch-Site
UNSUPPORTED_MEDIA_TYPE = 415


class Refusal(NamedTuple):
    """Why a request is not answered: its canonical code, its status in HTTP, a message."""

    code: str
    status: int
    message: str


class Origins:
    """Refuses what pages of other sites send to the REST port through a visitor's browser.

    Such a page can reach a server that only listens on this machine, in two ways:

    - *DNS rebinding*: a page of evil.example lets that name point to 127.0.0.1. For the browser
      the server then belongs to the page, and nothing in the request tells it from that of another
      client, except `Host: evil.example`. Hence every request needs a known host: `localhost`,
      names below it, any IP address (which is not looked up, and so cannot be rebound), the name of
      this machine, the address in `host`, and the names in `allowed_hosts`. A request without a
      host, as of HTTP/1.0, is no browser's.
    - *Cross-site requests*: a page may send a POST to any server without asking first if its type
      is that of a form or of plain text. Browsers then say where the page is from, in `Origin` or
      `Sec-Fetch-Site`: those requests need the origin of the server itself, and a POST the type
      `application/json` or that of an image, for which a page of another origin must ask first.
      Following a link to the server is allowed. With `rest_api_enable_cors_support` pages of all
      origins are.

    Other clients send neither header, so requests of TF Serving's clients keep working whatever
    their type is, such as those of `curl -d`, which calls its body a form.

    Args:
        flags: `host`, `allowed_hosts` and `rest_api_enable_cors_support` are used.
    """

    def __init__(self, flags: Flags):
        self._names = {"localhost", socket.gethostname().lower(), flags.host.lower()}
        self._names |= {name.lower() for name in flags.allowed_hosts if name[0] != "."}
        self._domains = (
            ".localhost",
            *(name.lower() for name in flags.allowed_hosts if name[0] == "."),
        )
        self._any_origin = flags.rest_api_enable_cors_support
        self.is_known = functools.lru_cache(1024)(self._is_known)

    def refusal(self, request: web.BaseRequest) -> Refusal | None:
        """Why a request is not answered, None if it is."""
        headers = request.headers
        host = headers.get("Host")
        if host is not None and not self.is_known(host):
            return _denied(
                f"The host {host[:200]!r} is not one of this server: start it with "
                "--allowed_hosts=NAME to answer requests under another name"
            )
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if (origin is None and site is None) or self._any_origin:
            return None
        if origin is not None:
            foreign = origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower())
        else:
            navigates = request.method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
            foreign = site in OTHER_SITES and not navigates
        if foreign:
            shown = (origin or site or "")[:200]
            return _denied(
                f"Requests of pages of another origin ({shown}) are refused: "
                "start the server with --rest_api_enable_cors_support to answer them"
            )
        if request.method == "POST" and not _asks_first(headers.get("Content-Type", "")):
            message = "The Content-Type of a browser's request must be application/json"
            return Refusal("INVALID_ARGUMENT", UNSUPPORTED_MEDIA_TYPE, message)
        return None

    def _is_known(self, host):
        found = HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        if "*" in self._names or name in self._names or name.endswith(self._domains):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def _denied(message):
    return Refusal("PERMISSION_DENIED", HTTP["PERMISSION_DENIED"], message)


def _asks_first(content_type):
    """Whether a browser asks before a page of another origin sends content of this type."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.startswith("image/")
