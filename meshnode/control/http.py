"""A small HTTP server at an endpoint of the configuration: loopback, a Unix socket, or a mesh address."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.logger import Logger, LogLevel
from twisted.protocols.policies import WrappingFactory
from twisted.web.http import HTTPChannel
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from meshnode.config.operator_sections import Endpoint

MOST_CONNECTIONS = 64
LARGEST_BODY = 4096
_TIMEOUT_SECS = 20
_SOCKET_MODE = 0o660


class ServeError(Exception):
    """Nothing can be served there; the text is one line for the operator."""


class Folder(Resource):
    """Some children, and a plain 404 for everything else."""

    def __init__(self, children: Mapping[str, Resource]) -> None:
        super().__init__()
        for name, child in children.items():
            self.putChild(name.encode(), child)

    def render(self, request: Any) -> Any:
        return notFound().render(request)

    def getChild(self, path: bytes, request: Any) -> IResource:  # noqa: N802
        return notFound()


class _Quiet(Logger):
    """Only what went wrong: strangers must not fill the log, with timeouts and HEAD requests that Twisted tells of."""

    def emit(self, level: Any, format: str | None = None, **values: object) -> None:
        if level >= LogLevel.warn:
            super().emit(level, format, **values)


class _Channel(HTTPChannel):
    _log = _Quiet()


class _BoundedRequest(Request):
    """A request with a small body. Others are cut off: Twisted would put them on the disk, whole and from anybody."""

    _log = _Quiet()
    _body_size = 0

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        self.content = self._body = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        before, self._body_size = self._body_size, self._body_size + len(data)
        if self._body_size <= LARGEST_BODY:
            self._body.write(data)
        elif before <= LARGEST_BODY:
            self.channel.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n")
            self.channel.loseConnection()

    def process(self) -> None:
        if self._body_size <= LARGEST_BODY:
            super().process()


class QuietSite(Site):
    """Nobody wants a line in the log for every look, and nobody sends us forms."""

    noisy = False
    protocol = _Channel  # type: ignore[assignment]
    requestFactory = _BoundedRequest  # noqa: N815
    displayTracebacks = False  # noqa: N815

    def __init__(self, root: Resource, timeout: float | None, reactor: Any) -> None:
        super().__init__(root, timeout=timeout, parsePOSTFormSubmission=False, reactor=reactor)

    def log(self, request: Any) -> None: ...


class _Bounded(WrappingFactory):
    """Lets so many connections be open at once; the oldest gives way, so that silent ones keep nobody out.

    At a mesh address anybody in the mesh may connect, whoever is shown the page.
    """

    noisy = False

    def registerProtocol(self, p: Any) -> None:  # noqa: N802
        if len(self.protocols) >= MOST_CONNECTIONS:
            oldest = next(iter(self.protocols))
            del self.protocols[oldest]
            oldest.transport.abortConnection()
        super().registerProtocol(p)

    def unregisterProtocol(self, p: Any) -> None:  # noqa: N802
        self.protocols.pop(p, None)


class HttpServer:
    """Serves `root` at `endpoint` until `stop`. A Unix socket gets mode 0660 and takes the place of a dead one."""

    def __init__(self, what: str, endpoint: Endpoint, root: Resource, reactor: Any) -> None:
        self.what = what
        self.endpoint = endpoint
        self._site = _Bounded(QuietSite(root, _TIMEOUT_SECS, reactor))
        self._reactor = reactor
        self._port: Any = None

    def start(self) -> str:
        """Listen, and return where. Raises `ServeError`."""
        path = self.endpoint.path
        try:
            if path is not None:
                _remove_dead(path)
                self._port = self._reactor.listenUNIX(path, self._site, mode=_SOCKET_MODE)
                return f"unix:{path}"
            self._port = self._reactor.listenTCP(self.endpoint.port, self._site, interface=self.endpoint.host)
        except (CannotListenError, OSError) as error:
            reason = getattr(error, "socketError", error)
            raise ServeError(f"{self.what} cannot be served at {self.endpoint}: {_words(reason)}") from None
        address = self._port.getHost()
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"http://{host}:{address.port}/"

    async def stop(self) -> None:
        if self._port is not None:
            port, self._port = self._port, None
            await port.stopListening()


def _remove_dead(path: str) -> None:
    """Remove a socket nobody listens on any more; whatever else is there makes the bind fail."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            return


def _words(error: Any) -> str:
    return getattr(error, "strerror", None) or str(error)
