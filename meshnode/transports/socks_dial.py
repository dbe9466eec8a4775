"""Streams through a SOCKS5 proxy: dialling, and noticing whether the proxy is there (spec 04 sections 6 and 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from meshnode.transports.addresses import HostName, SocketAddress
from meshnode.transports.causes import describe
from meshnode.transports.socks import REFUSED, Credentials, SocksClient, SocksError
from meshnode.transports.stream_transport import DialProblem

_PROBE_SECS = 5.0


def dial(
    endpoint: Any, target: SocketAddress | HostName, credentials: Credentials | None, factory: Factory
) -> Deferred[Any]:
    """Connect to `target` through the proxy at `endpoint`; the value is the protocol of `factory`, connected.

    Fails with `DialProblem`, whose counter is `connect_refused` when the target refused, else `socks5_errors`.
    """
    request = _Request(SocksClient(target, credentials), factory)
    connecting: Deferred[Any] = endpoint.connect(_Once(request))
    request.result = Deferred(lambda _: request.cancel(connecting))
    connecting.addErrback(request.unreachable)
    return request.result


class ProxyUnreachable(DialProblem):
    """There was nobody to ask."""


class _Once(Factory):
    """Hands out the protocol it was given."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: Any) -> Protocol:  # noqa: N802
        return self._protocol


class _Request(Protocol):
    """Speaks SOCKS until the stream is connected, then lets another protocol have it."""

    result: Deferred[Any]
    transport: Any

    def __init__(self, client: SocksClient, factory: Factory) -> None:
        self._client = client
        self._factory = factory

    def connectionMade(self) -> None:  # noqa: N802
        self.transport.write(self._client.greeting())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        try:
            answer = self._client.feed(data)
        except SocksError as error:
            counter = "connect_refused" if error.reply == REFUSED else "socks5_errors"
            self._fail(DialProblem(str(error), counter))
            return
        if answer:
            self.transport.write(answer)
        if self._client.done:
            self._hand_over()

    def _hand_over(self) -> None:
        protocol: Any = self._factory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        if self._client.rest:
            protocol.dataReceived(self._client.rest)
        self.result.callback(protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if not self.result.called:
            self.result.errback(DialProblem(f"the proxy hung up: {describe(reason)}", "socks5_errors"))

    def unreachable(self, reason: Failure) -> None:
        """The stream to the proxy did not open."""
        if not self.result.called and not isinstance(reason.value, CancelledError):
            self.result.errback(ProxyUnreachable(f"the proxy cannot be reached: {describe(reason)}", "socks5_errors"))

    def _fail(self, problem: DialProblem) -> None:
        if not self.result.called:
            self.result.errback(problem)
        self.transport.abortConnection()

    def cancel(self, connecting: Deferred[Any]) -> None:
        """Give the attempt up, whatever it is waiting for."""
        connecting.cancel()
        if self.transport is not None:
            self.transport.abortConnection()


class ProxyWatch:
    """Waits until something listens where the proxy should be, trying ever less often.

    `ready()` is called when it does, `absent(cause)` after the first attempt in vain. `pauses` are in seconds.
    """

    def __init__(
        self,
        endpoint: Callable[[], Any],
        reactor: Any,
        ready: Callable[[], None],
        absent: Callable[[str], None],
        pauses: tuple[float, ...],
    ) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._ready = ready
        self._absent = absent
        self._pauses = pauses
        self._left: Iterator[float] = iter(())
        self._timer: IDelayedCall | None = None
        self._attempt: Deferred[Any] | None = None
        self._complained = False

    @property
    def is_waiting(self) -> bool:
        return self._timer is not None or self._attempt is not None

    def start(self) -> None:
        """Look for the proxy now, and again until it is there."""
        if not self.is_waiting:
            self._complained = False
            self._left = chain(self._pauses, repeat(self._pauses[-1]))
            self._timer = self._reactor.callLater(0, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        attempt, self._attempt, self._timer = self._attempt, None, None
        if attempt is not None:
            attempt.cancel()

    def _look(self) -> None:
        self._timer = None
        attempt = self._attempt = self._endpoint().connect(_Once(Protocol()))
        attempt.addTimeout(_PROBE_SECS, self._reactor)
        attempt.addCallbacks(self._found, self._missed, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _found(self, protocol: Any, attempt: Deferred[Any]) -> None:
        protocol.transport.loseConnection()
        if self._attempt is attempt:
            self._attempt = None
            self._ready()

    def _missed(self, reason: Failure, attempt: Deferred[Any]) -> None:
        if self._attempt is not attempt:
            return
        self._attempt = None
        self._timer = self._reactor.callLater(next(self._left), self._look)
        if not self._complained:
            self._complained = True
            self._absent(describe(reason))
