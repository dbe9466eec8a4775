"""The gateway's name server as hosts of the local network meet it: questions over UDP and TCP, many at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import Int16StringReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from meshnode.ipv6.dns_message import MAX_MESSAGE
from meshnode.ipv6.dns_socket import DnsBindError, DnsSocket, bind_advice, open_dns_socket

MOST_CONNECTIONS = 64
MOST_OPEN = 512
"""Questions being answered at one time; further ones are dropped, as a busy network would."""

_IDLE_SECS = 10.0
_log = Logger(namespace="meshnode")

Answer = Callable[[bytes], Awaitable[bytes | None]]
Reply = Callable[[bytes], object]


class NameListener:
    """Listens at `address` (IP literal, port) and hands questions to `answer`."""

    def __init__(self, address: tuple[str, int], answer: Answer, reactor: Any) -> None:
        self.dropped = 0
        self._address = address
        self._answer = answer
        self._reactor = reactor
        self._open: set[Deferred[None]] = set()
        self._socket: DnsSocket | None = None
        self._port: Any = None
        self._connections: dict[_Connection, None] = {}

    def bind(self) -> None:
        """Take the port; questions wait in it until `start`. Raises `DnsBindError`."""
        host, port = self._address
        keys = ("gateway.dns.listen", "port in gateway.dns.listen")
        self._socket = DnsSocket(open_dns_socket(host, port, *keys), self._datagram)
        factory: Factory[Any] = Factory.forProtocol(self._connection)
        factory.noisy = False
        try:
            self._port = self._reactor.listenTCP(port, factory, interface=host)
        except CannotListenError as error:
            self._socket.close()
            advice = bind_advice(error.socketError, *keys)
            raise DnsBindError(f"no names over TCP on port {port} of {host}: {advice}") from None
        self._port.stopReading()

    def start(self) -> None:
        """Begin to answer."""
        assert self._port is not None, "it is bound"
        self._reactor.addReader(self._socket)
        self._port.startReading()

    async def stop(self) -> None:
        """Give up the port; questions that are still open get no answer."""
        socket, self._socket = self._socket, None
        port, self._port = self._port, None
        if socket is not None:
            self._reactor.removeReader(socket)
            socket.close()
        for connection in list(self._connections):
            connection.transport.abortConnection()
        for question in list(self._open):
            question.cancel()
        if port is not None:
            await maybeDeferred(port.stopListening)

    def _datagram(self, sock: DnsSocket, message: bytes, interface: int | None, reply: Callable[[bytes], bool]) -> None:
        if len(message) <= MAX_MESSAGE:
            self.ask(message, lambda answer: None if sock.closed else reply(answer))

    def ask(self, message: bytes, reply: Reply) -> None:
        """Answer one question when its time comes."""
        if len(self._open) >= MOST_OPEN:
            self.dropped += 1
            return
        question: Deferred[None] = ensureDeferred(self._ask(message, reply))
        self._open.add(question)
        question.addErrback(self._went_wrong)
        question.addBoth(lambda _: self._open.discard(question))

    def _went_wrong(self, reason: Failure) -> None:
        if reason.check(CancelledError) is None:  # it was still open when we stopped
            _log.failure("a question went wrong", failure=reason)

    async def _ask(self, message: bytes, reply: Reply) -> None:
        answer = await self._answer(message)
        if answer is not None:
            reply(answer)

    def _connection(self) -> _Connection:
        if len(self._connections) >= MOST_CONNECTIONS:
            next(iter(self._connections)).transport.abortConnection()
        return _Connection(self)

    def opened(self, connection: _Connection) -> None:
        self._connections[connection] = None

    def closed(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)


class _Connection(Int16StringReceiver, TimeoutMixin):
    """Questions over TCP, each behind its length (RFC 7766); idle connections are closed."""

    MAX_LENGTH = MAX_MESSAGE

    def __init__(self, owner: NameListener) -> None:
        self._owner = owner
        self._is_open = True

    transport: Any

    def connectionMade(self) -> None:  # noqa: N802
        self._owner.opened(self)
        self.setTimeout(_IDLE_SECS)

    def stringReceived(self, string: bytes) -> None:  # noqa: N802
        """One question."""
        self.resetTimeout()
        self._owner.ask(string, self._reply)

    def _reply(self, answer: bytes) -> None:
        if self._is_open:
            self.resetTimeout()
            self.sendString(answer)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        self._is_open = False
        self.setTimeout(None)
        self._owner.closed(self)
