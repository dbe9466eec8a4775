"""The gateway's name server as hosts of the local network meet it: questions over UDP and TCP, many at a time."""

from __future__ import annotations

import os
from collections import Counter
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
from meshnode.ipv6.dns_socket import Arrival, DnsBindError, DnsSocket, bind_advice, open_dns_socket
from meshnode.mesh.rate_limit import SourceBuckets

MOST_CONNECTIONS = 64
MOST_OPEN = 512
"""Questions being answered at one time; further ones are dropped, as a busy network would."""
MOST_OPEN_OF_ONE = 256
"""The same for one host, so that a single one cannot keep the others waiting."""
QUESTIONS_AT_ONCE, QUESTIONS_PER_SECOND = 1024, 256
"""What one host may ask; the rest is dropped before it costs anything."""

_IDLE_SECS = 10.0
_log = Logger(namespace="meshnode")

Answer = Callable[[bytes, str], Awaitable[bytes | None]]
"""`await answer(message, client)` is what the host `client` is answered; None for nothing."""
Reply = Callable[[bytes], object]


class NameListener:
    """Listens at `address` (IP literal, port) and hands questions to `answer`."""

    def __init__(self, address: tuple[str, int], answer: Answer, reactor: Any) -> None:
        self.dropped = 0
        self._address = address
        self._answer = answer
        self._reactor = reactor
        self._open: dict[Deferred[None], str] = {}
        self._open_of: Counter[str] = Counter()
        self._budget = SourceBuckets(QUESTIONS_AT_ONCE, QUESTIONS_PER_SECOND, os.urandom(16), reactor.seconds())
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

    def _datagram(self, sock: DnsSocket, arrival: Arrival) -> None:
        if len(arrival.message) <= MAX_MESSAGE:
            self.ask(arrival.message, arrival.client, lambda answer: None if sock.closed else arrival.reply(answer))

    def ask(self, message: bytes, client: str, reply: Reply) -> None:
        """Answer one question when its time comes."""
        if not self._has_room_for(client):
            self.dropped += 1
            return
        question: Deferred[None] = ensureDeferred(self._ask(message, client, reply))
        self._open[question] = client
        self._open_of[client] += 1
        question.addErrback(self._went_wrong)
        question.addBoth(lambda _: self._closed(question))

    def _has_room_for(self, client: str) -> bool:
        if len(self._open) >= MOST_OPEN or self._open_of[client] >= MOST_OPEN_OF_ONE:
            return False
        return self._budget.allow(client.encode(), self._reactor.seconds())

    def _closed(self, question: Deferred[None]) -> None:
        client = self._open.pop(question)
        self._open_of[client] -= 1
        if not self._open_of[client]:
            del self._open_of[client]

    def _went_wrong(self, reason: Failure) -> None:
        if reason.check(CancelledError) is None:  # it was still open when we stopped
            _log.failure("a question went wrong", failure=reason)

    async def _ask(self, message: bytes, client: str, reply: Reply) -> None:
        answer = await self._answer(message, client)
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
        self._owner.ask(string, self.transport.getPeer().host, self._reply)

    def _reply(self, answer: bytes) -> None:
        if self._is_open:
            self.resetTimeout()
            self.sendString(answer)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        self._is_open = False
        self.setTimeout(None)
        self._owner.closed(self)
