"""Questions outside `.fips`, passed on to the name servers the machine used before (opt-in: `meshnode.resolver`).

Each question gets a socket of its own, connected to the server it goes to, so that the kernel picks a fresh port and
refuses answers from anywhere else. What is open at one time is bounded; more questions are dropped and counted.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.ipv6.dns_message import Query, is_reply_to, server_failure

_MAX_PENDING = 128
SERVER_SECONDS = 3.0
_MAX_REPLY = 65535

Reply = Callable[[bytes], None]
Dial = Callable[[tuple[str, int]], socket.socket]
"""Opens a non-blocking socket to a server. Raises `OSError`."""


def dial(server: tuple[str, int]) -> socket.socket:
    """Open a UDP socket from a port that the kernel chooses at random to `server`, (IP literal, port)."""
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.connect(server)
    except OSError:
        sock.close()
        raise
    return sock


@dataclass(slots=True)
class ForwardCounters:
    """What happened to forwarded questions."""

    asked: int = 0
    answered: int = 0
    failed: int = 0
    dropped: int = 0


class Forwarder:
    """Sends whole queries to `servers`, (IP literal, port) in order of preference, and hands back what they answer.

    `reactor` provides addReader, removeReader and callLater; `entropy` is shaped like os.urandom. A server gets
    `patience` seconds.
    """

    def __init__(
        self,
        servers: Sequence[tuple[str, int]],
        reactor: Any,
        entropy: Callable[[int], bytes],
        patience: float = SERVER_SECONDS,
        dial: Dial = dial,
    ) -> None:
        self.servers = tuple(servers)
        self.patience = patience
        self.reactor = reactor
        self.dial = dial
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
        self._attempt: _Attempt | None = None
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
        try:
            self._attempt = _Attempt(self._owner.dial(server), self._received, self.next_server)
            self._attempt.send(self._message)
        except OSError:
            self._release()
            return False
        self._owner.reactor.addReader(self._attempt)
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
        attempt, self._attempt = self._attempt, None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if attempt is not None:
            self._owner.reactor.removeReader(attempt)
            attempt.close()


@implementer(IReadDescriptor)
class _Attempt:
    """One socket, connected to one server. A port of Twisted's would write two lines into the log for each question."""

    def __init__(self, sock: socket.socket, received: Callable[[bytes], None], failed: Callable[[], None]) -> None:
        self._socket = sock
        self._received = received
        self._failed = failed
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """Name this descriptor in the log."""
        return "dns"

    def send(self, message: bytes) -> None:
        """Raises `OSError` when it is known already that nobody is there."""
        self._socket.send(message)

    def doRead(self) -> None:  # noqa: N802
        """Hand one reply up, or go on at once when nobody listens there."""
        try:
            reply = self._socket.recv(_MAX_REPLY)
        except BlockingIOError:
            return
        except OSError:
            self._failed()
        else:
            self._received(reply)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """That nobody listens there, in the words of a reactor that tells errors before it reads."""
        if not self._closed:
            self._failed()

    def close(self) -> None:
        """Close the socket."""
        self._closed = True
        self._socket.close()
