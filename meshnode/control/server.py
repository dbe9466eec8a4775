"""The control socket of a running node: accepts connections and gives each one exchange (spec 06 section 1)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .exchange import Answers, Exchange, Phase
from .socketfile import SocketFile, SocketFileError

MOST_CONNECTIONS = 128
_ACCEPTS_PER_WAKE_UP = 16
_PAUSE_SECS = 1.0

_log = Logger(namespace="meshnode")
_serving = _log.failureHandler("a control connection upset the node")


class ControlServer:
    """Serves `answers` at the Unix socket `path`.

    `reactor` provides IReactorFDSet, IReactorTime and IReactorSocket. Lines for the operator that are no reason to do
    without the socket are in `warnings` after `start`.
    """

    def __init__(self, path: str, answers: Answers, reactor: Any, environment: Mapping[str, str] = os.environ) -> None:
        self.path = path
        self._answers = answers
        self._reactor = reactor
        self._file = SocketFile(path, environment)
        self._listener: _Listener | None = None
        self._exchanges: dict[Exchange, None] = {}
        self._said: str | None = None

    @property
    def warnings(self) -> list[str]:
        return self._file.warnings

    def start(self) -> str | None:
        """Begin to serve; returns why that is impossible, None when all is well."""
        try:
            listening = self._file.open()
        except SocketFileError as error:
            return str(error)
        factory: Factory[Any] = Factory.forProtocol(self._new_exchange)
        factory.noisy = False
        self._listener = _Listener(listening, factory, self._reactor, self._serve_at_once)
        self._listener.resume()
        return None

    def restore(self) -> None:
        """Make the socket again if somebody removed it, as who cleans up /run does; for a look now and then."""
        if self._listener is None or not self._file.is_gone():
            return
        before = self._listener
        problem = self.start()
        if problem is None:
            before.close()
            _log.warn("control socket {path} was removed and is there again", path=self.path)
        elif problem != self._said:
            _log.warn("{problem}; the node runs without it", problem=problem)
        self._said = problem

    async def stop(self) -> None:
        """Stop serving and remove the socket; requests that are incomplete are refused."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._file.remove()
        for exchange in list(self._exchanges):
            if exchange.phase is Phase.READING:
                exchange.give_up("node shutting down")

    def _new_exchange(self) -> Exchange:
        self._make_room()
        exchange = Exchange(self._answers, self._reactor.callLater, self._forget)
        self._exchanges[exchange] = None
        return exchange

    def _serve_at_once(self) -> None:
        """Answer the newcomer now, if its request is there, as it is as a rule."""
        with _serving:
            newcomer = next(reversed(self._exchanges), None)
            if newcomer is not None and newcomer.transport is not None:
                newcomer.hurry()

    def _forget(self, exchange: Exchange) -> None:
        self._exchanges.pop(exchange, None)

    def _make_room(self) -> None:
        """Who keeps a connection without asking anything goes first, else who has been slowest to take the answer."""
        if len(self._exchanges) < MOST_CONNECTIONS:
            return
        silent = next((exchange for exchange in self._exchanges if exchange.phase is Phase.READING), None)
        oldest = silent or next(iter(self._exchanges))
        self._forget(oldest)
        oldest.give_up("too many connections")


@implementer(IReadDescriptor)
class _Listener:
    """The listening descriptor. It differs from Twisted's Unix port in leaving mode and removal of the file to us."""

    def __init__(
        self, listening: socket.socket, factory: Factory[Any], reactor: Any, adopted: Callable[[], None]
    ) -> None:
        """`adopted()` is called for each connection that has been handed to `factory`."""
        self._socket = listening
        self._adopted = adopted
        self._factory = factory
        self._reactor = reactor
        self._is_open = True

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return "control socket"

    def resume(self) -> None:
        if self._is_open:
            self._reactor.addReader(self)

    def doRead(self) -> None:  # noqa: N802
        """Accept who waits, a few at a time."""
        for _ in range(_ACCEPTS_PER_WAKE_UP):
            try:
                connection, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            self._adopt(connection)

    def _adopt(self, connection: socket.socket) -> None:
        with connection:  # the reactor works on a duplicate of the descriptor
            connection.setblocking(False)
            try:
                self._reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, self._factory)
            except OSError as error:
                self._pause(error)
                return
        self._adopted()

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: try again a little later instead of in a tight loop."""
        _log.warn("control socket: cannot accept a connection: {reason}", reason=error.strerror or str(error))
        self._reactor.removeReader(self)
        self._reactor.callLater(_PAUSE_SECS, self.resume)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """The reactor gave the descriptor up."""
        self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._reactor.removeReader(self)
            self._socket.close()
