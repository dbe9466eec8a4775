"""Questions outside `.fips`, passed on to the name servers the machine used before (opt-in: `meshnode.resolver`).

Each question gets a socket of its own, connected to the server it goes to, so that the kernel picks a fresh port and
refuses answers from anywhere else. What is open at one time is bounded; more questions are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import DatagramProtocol

from meshnode.ipv6.dns_message import Query, is_reply_to, server_failure

_MAX_PENDING = 128
SERVER_SECONDS = 3.0
_MAX_REPLY = 65535

Reply = Callable[[bytes], None]


@dataclass(slots=True)
class ForwardCounters:
    """What happened to forwarded questions."""

    asked: int = 0
    answered: int = 0
    failed: int = 0
    dropped: int = 0


class Forwarder:
    """Sends whole queries to `servers`, (IP literal, port) in order of preference, and hands back what they answer.

    `reactor` provides listenUDP and callLater; `entropy` is shaped like os.urandom. A server gets `patience` seconds.
    """

    def __init__(
        self,
        servers: Sequence[tuple[str, int]],
        reactor: Any,
        entropy: Callable[[int], bytes],
        patience: float = SERVER_SECONDS,
    ) -> None:
        self.servers = tuple(servers)
        self.patience = patience
        self.reactor = reactor
        self.counters = ForwardCounters()
        self._entropy = entropy
        self._pending: set[_Exchange] = set()

    def ask(self, message: bytes, query: Query, reply: Reply) -> bool:
        """Forward `message`, already parsed as `query`; `reply` is called at most once, with the client's own id.

        False when too many questions are open already: this one is dropped.
        """
        if len(self._pending) >= _MAX_PENDING:
            self.counters.dropped += 1
            return False
        self.counters.asked += 1
        exchange = _Exchange(self, message, query, self._entropy(2), reply)
        self._pending.add(exchange)
        exchange.next_server()
        return True

    def stop(self) -> None:
        """Forget every open question."""
        for exchange in list(self._pending):
            exchange.close()

    def done(self, exchange: _Exchange) -> None:
        """Note that an exchange has closed."""
        self._pending.discard(exchange)


class _Exchange:
    """One question on its way through the servers."""

    def __init__(self, owner: Forwarder, message: bytes, query: Query, message_id: bytes, reply: Reply) -> None:
        self._owner = owner
        self._client_message = message
        self._message = message_id + message[2:]
        self._query = query
        self._reply = reply
        self._servers = iter(owner.servers)
        self._port: IListeningPort | None = None
        self._timer: IDelayedCall | None = None

    def next_server(self) -> None:
        """Ask the next server; when there is none left, tell the client that the resolution failed."""
        self._release()
        for server in self._servers:
            if self._try(server):
                return
        self._owner.counters.failed += 1
        self._finish(server_failure(self._client_message, self._query))

    def close(self) -> None:
        """Give up without an answer."""
        self._release()
        self._owner.done(self)

    def _try(self, server: tuple[str, int]) -> bool:
        attempt = _Attempt(server, self._message, self._received, self.next_server)
        try:
            self._port = self._owner.reactor.listenUDP(0, attempt, "::" if ":" in server[0] else "", _MAX_REPLY)
        except CannotListenError:
            return False
        if attempt.unreachable:
            self._release()
            return False
        self._timer = self._owner.reactor.callLater(self._owner.patience, self.next_server)
        return True

    def _received(self, reply: bytes) -> None:
        """Pass the reply on, unless it answers something else."""
        if is_reply_to(reply, self._message, self._query):
            self._owner.counters.answered += 1
            self._finish(self._client_message[:2] + reply[2:])

    def _finish(self, reply: bytes) -> None:
        self.close()
        self._reply(reply)

    def _release(self) -> None:
        port, self._port = self._port, None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if port is not None:
            port.stopListening()


class _Attempt(DatagramProtocol):
    """One socket, connected to one server."""

    noisy = False

    def __init__(
        self, server: tuple[str, int], message: bytes, received: Callable[[bytes], None], refused: Callable[[], None]
    ) -> None:
        self.unreachable = False
        self._started = False
        self._server = server
        self._message = message
        self._received = received
        self._refused = refused

    def startProtocol(self) -> None:  # noqa: N802
        """Send the question."""
        transport: Any = self.transport
        try:
            transport.connect(*self._server)
            transport.write(self._message)
        except OSError:
            self.unreachable = True
        self._started = True

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802
        """Hand a reply up."""
        self._received(datagram)

    def connectionRefused(self) -> None:  # noqa: N802
        """Nobody listens there: go on at once."""
        if self._started:
            self._refused()
        else:
            self.unreachable = True
