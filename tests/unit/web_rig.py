"""A site on a reactor turned by hand, asked over real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.epollreactor import EPollReactor

from meshnode.config.operator_sections import Endpoint
from meshnode.control.http import HttpServer

ROUNDS = 4000


class Served:
    """A server and a client in one process."""

    def __init__(self, root: Any, endpoint: Endpoint | None = None) -> None:
        self.reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]
        self.server = HttpServer("the page", endpoint or Endpoint(None, "127.0.0.1", 0), root, self.reactor)
        self.place = self.server.start()
        self.port = self.server._port.getHost().port

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer."""
        given = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(f"{method} {path} HTTP/1.0\r\n{head}\r\n".encode() + body)
            client.setblocking(False)
            received: list[bytes] = []
            self.turn_until(lambda: _reads_end(client, received))
        start, _, content = b"".join(received).partition(b"\r\n\r\n")
        first, *rest = start.decode().split("\r\n")
        return int(first.split()[1]), {n.lower(): v for n, _, v in (line.partition(": ") for line in rest)}, content

    def json(self, path: str, **options: Any) -> Any:
        return json.loads(self.request("GET", path, **options)[2])

    def turn_until(self, done: Callable[[], bool]) -> None:
        for _ in range(ROUNDS):
            if done():
                return
            self.reactor.iterate(0.005)
        raise AssertionError("no answer")

    def stop(self) -> None:
        stopped: list[None] = []
        ensureDeferred(self.server.stop()).addCallback(stopped.append)
        self.turn_until(lambda: bool(stopped))


def _reads_end(client: socket.socket, received: list[bytes]) -> bool:
    try:
        received.append(client.recv(65536))
    except BlockingIOError:
        return False
    return not received[-1]
