"""A SOCKS5 server of the test's own, which connects nowhere but to loopback ports it is told of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tests.unit.stream_rig import JumpingReactor


@dataclass
class SocksServer:
    """Listens on a loopback port. `routes` maps a destination `host:port` to the loopback port it leads to.

    `replies` maps a destination to the code that refuses it, `silent` destinations get no answer. `delay` is how many
    seconds an answer takes. `asked` and `passwords` keep what clients said.
    """

    reactor: JumpingReactor
    routes: dict[str, int] = field(default_factory=dict)
    replies: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)
    streams: list[_Client] = field(default_factory=list)
    port: int = 0
    listening: Any = None

    def start(self) -> None:
        factory = Factory.forProtocol(lambda: _Client(self))
        factory.noisy = False
        self.listening = self.reactor.listenTCP(self.port, factory, interface="127.0.0.1")
        self.port = self.listening.getHost().port

    def stop(self) -> None:
        """Be gone, with every stream, as when the proxy's process is killed."""
        self.listening.stopListening()
        for stream in list(self.streams):
            stream.transport.abortConnection()
        self.reactor.turn()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class _Client(Protocol):
    """One stream of a client."""

    transport: Any

    def __init__(self, server: SocksServer) -> None:
        self.server = server
        self.buffer = b""
        self.step = self._greeting
        self.far: Any = None

    def connectionMade(self) -> None:
        self.server.streams.append(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.server.streams.remove(self)
        if self.far is not None:
            self.far.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.far is not None:
            self.far.transport.write(data)
            return
        self.buffer += data
        self.step()

    def _greeting(self) -> None:
        if len(self.buffer) >= 2 and len(self.buffer) >= 2 + self.buffer[1]:
            methods = self.buffer[2 : 2 + self.buffer[1]]
            self.buffer = self.buffer[2 + self.buffer[1] :]
            self.step = self._password if 2 in methods else self._request
            self.transport.write(b"\x05\x02" if 2 in methods else b"\x05\x00")

    def _password(self) -> None:
        user = self.buffer[1]
        length = self.buffer[2 + user]
        self.server.passwords.append(self.buffer[3 + user : 3 + user + length].decode())
        self.buffer = b""
        self.step = self._request
        self.transport.write(b"\x01\x00")

    def _request(self) -> None:
        kind = self.buffer[3]
        if kind == 3:
            host, rest = self.buffer[5 : 5 + self.buffer[4]].decode(), self.buffer[5 + self.buffer[4] :]
        else:
            host, rest = ".".join(map(str, self.buffer[4:8])), self.buffer[8:]
        destination = f"{host}:{int.from_bytes(rest[:2], 'big')}"
        self.server.asked.append(destination)
        if destination not in self.server.silent:
            self.server.reactor.callLater(self.server.delay, self._answer, destination)

    def _answer(self, destination: str) -> None:
        code = self.server.replies.get(destination, 0 if destination in self.server.routes else 4)
        if code:
            self.transport.write(bytes([5, code]) + bytes.fromhex("0001000000000000"))
            self.transport.loseConnection()
            return
        port = self.server.routes[destination]
        far = TCP4ClientEndpoint(self.server.reactor, "127.0.0.1", port).connect(
            Factory.forProtocol(lambda: _Far(self))
        )
        far.addCallback(self._connected)

    def _connected(self, far: Any) -> None:
        self.far = far
        self.transport.write(bytes.fromhex("05000001000000000000"))


class _Far(Protocol):
    """The stream behind the proxy."""

    transport: Any

    def __init__(self, near: _Client) -> None:
        self.near = near

    def dataReceived(self, data: bytes) -> None:
        self.near.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.near.transport.loseConnection()
