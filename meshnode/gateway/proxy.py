"""The way into the mesh for hosts that only speak IPv4, or behind a kernel that translates nothing.

One port speaks SOCKS5 and HTTP, `CONNECT` included, and hands out the file that makes browsers use it for `.fips`.
Names are resolved by the node, and connections leave through its interface.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP6ClientEndpoint
from twisted.internet.error import CannotListenError, ConnectError, ConnectionRefusedError, UserError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from .listening import Listening
from .proxy_requests import Conversation, Page, RequestRefused, Trouble, Wanted

MOST_CLIENTS = 256
MOST_CLIENTS_OF_ONE = 128
"""Connections of one host, so that a single one cannot keep the others out."""
REQUEST_SECS = 10.0
CONNECT_SECS = 15
IDLE_SECS = 600.0
_log = Logger(namespace="meshnode")

Resolve = Callable[[str], Awaitable[bytes | None]]
"""`await resolve(name)` is the mesh address of `name`, None when there is none."""


@dataclass(slots=True)
class ProxyCounters:
    """Clients by what became of them."""

    connected: int = 0
    refused: int = 0
    turned_away: int = 0


class Proxy:
    """Listens where `listening` says for clients of the local network."""

    def __init__(self, listening: Listening, resolve: Resolve, reactor: Any) -> None:
        self.counters = ProxyCounters()
        self.resolve = resolve
        self.reactor = reactor
        self.listening = listening
        self._port: IListeningPort | None = None
        self._clients: dict[_Client, str] = {}
        """The hosts they came from."""

    def start(self) -> None:
        """Raises `GatewayError`."""
        host, port = self.listening.address
        factory: Factory[Any] = Factory.forProtocol(lambda: _Client(self))
        factory.noisy = False
        try:
            self._port = self.reactor.listenTCP(port, factory, interface=host)
        except CannotListenError as error:
            raise self.listening.error(error.socketError) from None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._port is not None
        return int(self._port.getHost().port)  # type: ignore[attr-defined]

    def stop(self) -> Deferred[Any]:
        """End every connection and listen no more; fires when the port is free."""
        port, self._port = self._port, None
        for client in list(self._clients):
            client.transport.abortConnection()
        return succeed(None) if port is None else maybeDeferred(port.stopListening)

    def arrived(self, client: _Client) -> bool:
        """Whether there is room for one more client."""
        host = client.transport.getPeer().host
        of_that_host = sum(one == host for one in self._clients.values())
        if len(self._clients) >= MOST_CLIENTS or of_that_host >= MOST_CLIENTS_OF_ONE:
            self.counters.turned_away += 1
            return False
        self._clients[client] = host
        return True

    def left(self, client: _Client) -> None:
        self._clients.pop(client, None)


class _Half(Protocol, TimeoutMixin):
    """One side of a connection through the proxy: what arrives goes to the other side, as fast as that takes it."""

    transport: Any
    other: _Half | None = None

    def join(self, other: _Half) -> None:
        self.other = other
        self.setTimeout(IDLE_SECS)
        self.transport.registerProducer(other.transport, True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.resetTimeout()
        if self.other is not None:
            self.other.resetTimeout()
            self.other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        self.setTimeout(None)
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            other.transport.unregisterProducer()
            other.transport.loseConnection()

    def timeoutConnection(self) -> None:  # noqa: N802
        self.transport.abortConnection()


class _Client(_Half):
    """A host of the local network."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._conversation = Conversation()
        self._early: list[bytes] = []
        self._working: Deferred[None] | None = None

    def connectionMade(self) -> None:  # noqa: N802
        if self._proxy.arrived(self):
            self.setTimeout(REQUEST_SECS)
        else:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """The request, and once there is somebody to talk to, what is to be passed on."""
        if self.other is not None:
            super().dataReceived(data)
        elif self._working is not None:
            self._early.append(data)
        else:
            self._converse(data)

    def _converse(self, data: bytes) -> None:
        conversation = self._conversation
        try:
            found = conversation.feed(data)
        except RequestRefused as refusal:
            self._say_and_end(conversation.to_client + refusal.answer)
            return
        self.transport.write(conversation.to_client)
        conversation.to_client = b""
        if isinstance(found, Page):
            self._say_and_end(found.answer())
        elif found is not None:
            self.setTimeout(None)
            self.transport.pauseProducing()
            self._working = ensureDeferred(self._connect(found))
            self._working.addErrback(self._went_wrong)

    async def _connect(self, wanted: Wanted) -> None:
        address = await self._proxy.resolve(wanted.name)
        if address is None:
            self._refuse(wanted, Trouble.NO_SUCH_NAME)
            return
        endpoint = TCP6ClientEndpoint(self._proxy.reactor, str(IPv6Address(address)), wanted.port, timeout=CONNECT_SECS)
        try:
            far = await endpoint.connect(Factory.forProtocol(_Half))
        except ConnectionRefusedError:
            self._refuse(wanted, Trouble.REFUSED)
        except (ConnectError, UserError):
            self._refuse(wanted, Trouble.GENERAL)
        else:
            self._joined(wanted, far)

    def _joined(self, wanted: Wanted, far: _Half) -> None:
        self._proxy.counters.connected += 1
        far.transport.write(wanted.head + self._conversation.rest + b"".join(self._early))
        self.transport.write(wanted.granted)
        self.join(far)
        far.join(self)
        self.transport.resumeProducing()

    def _went_wrong(self, reason: Failure) -> None:
        if reason.check(CancelledError) is None:  # the client went away before the other side was reached
            _log.failure("a client of the proxy could not be served", failure=reason)
            self.transport.abortConnection()

    def _refuse(self, wanted: Wanted, trouble: Trouble) -> None:
        self._say_and_end(wanted.refusal(trouble))

    def _say_and_end(self, answer: bytes) -> None:
        self._proxy.counters.refused += 1
        self.transport.write(answer)
        self.transport.resumeProducing()
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        self._proxy.left(self)
        if self._working is not None:
            self._working.cancel()
        super().connectionLost(reason)
