"""What all carriers over streams have in common: a pool of connections by address (spec 04 sections 1.4, 3 and 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, TimeoutError, fail, succeed
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import ILoggingContext
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.transports.causes import describe
from meshnode.transports.interfaces import IConnectionTransport, ITransportHost, TransportError
from meshnode.transports.stream_connection import StreamConnection
from meshnode.transports.visitors import Visitors

_STOP_SECS = 1.0

_log = Logger()
_delivering = _log.failureHandler("a link frame upset the node")
_telling = _log.failureHandler("news of a connection upset the node")


class DialProblem(Exception):
    """A connection did not open; `counter` is where that is counted, if anywhere."""

    def __init__(self, cause: str, counter: str | None = None) -> None:
        super().__init__(cause)
        self.counter = counter


@implementer(IConnectionTransport)
class StreamTransport:
    """A pool of streams behind addresses. Subclasses know how to dial, what to listen on, and how long frames may be.

    `reactor` provides IReactorTime. Times are seconds, sizes bytes of whole link frames.
    """

    kind: str
    counters: tuple[str, ...]

    def __init__(
        self,
        transport_id: int,
        name: str | None,
        mtu: int,
        connect_timeout: float,
        max_inbound: int,
        host: ITransportHost,
        reactor: Any,
    ) -> None:
        self.transport_id = transport_id
        self.name = name
        self.mtu = mtu
        self.state = "configured"
        self.accepts_connections = False
        self.local_address: str | None = None
        self.connect_timeout = connect_timeout
        self._max_inbound = max_inbound
        self._host = host
        self._reactor = reactor
        self._counts = dict.fromkeys(self.counters, 0)
        self._open: dict[str, StreamConnection] = {}
        self._visitors = Visitors()
        self._dialling: dict[str, Deferred[Any]] = {}
        self._queue: dict[StreamConnection, list[bytes]] = {}
        self._closing: dict[StreamConnection, Deferred[None]] = {}

    # -- for subclasses

    def _check(self, address: str) -> None:
        """Raise `TransportError` when `address` is not of this kind."""
        raise NotImplementedError

    def _dial(self, address: str, factory: Factory) -> Deferred[Any]:
        """Open a stream to `address` with a protocol of `factory`; cancellable, may fail with `DialProblem`."""
        raise NotImplementedError

    def _patience(self, address: str) -> float:
        """How many seconds a dial of `address` may take."""
        return self.connect_timeout

    def _went_wrong(self, address: str) -> None:
        """Note that a dial of `address` failed, or that a connection that came of one was lost."""

    def _tune(self, connection: StreamConnection) -> None:
        """Set what is to be set on a stream that has just opened; `connection.mtu` may be lowered."""

    # -- life

    def start(self) -> Any:
        """Take connections and dials. Raises `TransportError`."""
        if self.state in ("starting", "up"):
            raise TransportError("transport already started")
        self.state = "up"

    def stop(self) -> Deferred[Any]:
        """Close every connection after what was sent over it has left, within a moment."""
        self.flush()
        self.state, self.local_address = "down", None
        for address in [*self._dialling, *self._open]:
            self.disconnect(address)
        gone = DeferredList([*self._closing.values()])
        left = list(self._closing)

        def cut_off() -> None:
            for connection in left:
                connection.abort("stopped")

        cut = self._reactor.callLater(_STOP_SECS, cut_off)
        return gone.addBoth(lambda _: cut.cancel() if cut.active() else None)

    # -- questions

    def can_dial(self, address: str) -> bool:
        if self.state != "up":
            return False
        try:
            self._check(address)
        except TransportError:
            return False
        return True

    def link_mtu(self, address: str) -> int:
        connection = self._open.get(address)
        return self.mtu if connection is None else connection.mtu

    def is_connected(self, address: str) -> bool:
        return address in self._open

    def is_inbound(self, address: str) -> bool:
        connection = self._open.get(address)
        return connection is not None and connection.inbound

    def connections(self) -> list[str]:
        return list(self._open)

    def stats(self) -> dict[str, int]:
        inbound = self._inbound()
        gauges = {"pool_inbound": inbound, "pool_outbound": len(self._open) - inbound}
        return self._counts | {name: value for name, value in gauges.items() if name in self._counts}

    def _inbound(self) -> int:
        return sum(connection.inbound for connection in self._open.values())

    def _count(self, counter: str, amount: int = 1) -> None:
        if counter in self._counts:
            self._counts[counter] += amount

    # -- dialling

    def connect(self, address: str) -> None:
        if address in self._open or address in self._dialling:
            return
        factory = _DialFactory(self, address)
        try:
            self._check(address)
            attempt = self._dial(address, factory)
        except TransportError as error:
            attempt = fail(error)
        attempt.addTimeout(self._patience(address), self._reactor, lambda reason, _seconds: fail(TimeoutError()))
        self._dialling[address] = attempt
        # A failure that is there at once is told later: the node is in the midst of asking.
        attempt.addErrback(lambda reason: self._reactor.callLater(0, self._dial_failed, address, attempt, reason))

    def _dial_failed(self, address: str, attempt: Deferred[Any], reason: Failure) -> None:
        if self._dialling.get(address) is not attempt:
            return
        del self._dialling[address]
        if isinstance(reason.value, TimeoutError):
            cause, counter = f"no answer within {self._patience(address):g} s", "connect_timeouts"
        elif isinstance(reason.value, DialProblem):
            cause, counter = str(reason.value), reason.value.counter or ""
        else:
            is_refusal = isinstance(reason.value, ConnectError)
            cause, counter = describe(reason), "connect_refused" if is_refusal else ""
        self._count(counter)
        self._went_wrong(address)
        with _telling:
            self._host.connect_failed(self, address, cause)

    def disconnect(self, address: str) -> None:
        attempt = self._dialling.pop(address, None)
        if attempt is not None:
            attempt.cancel()
        connection = self._take_out(address)
        if connection is not None:
            frames = self._queue.pop(connection, None)
            if frames:
                self._write(connection, frames)
            self._closing[connection] = Deferred()
            connection.close()

    def _take_out(self, address: str) -> StreamConnection | None:
        """Count the connection of `address` among the open ones no longer."""
        self._visitors.discard(address)
        return self._open.pop(address, None)

    # -- what connections tell (`ConnectionOwner`)

    def connection_open(self, connection: StreamConnection) -> None:
        address = connection.address
        if connection.inbound:
            self._count("connections_accepted")
            self._visitors.add(address)
        elif self._dialling.pop(address, None) is None:
            connection.abort("not wanted any more")
            return
        else:
            self._count("connections_established")
        self._open[address] = connection
        self._tune(connection)
        if not connection.inbound:
            with _telling:
                self._host.connected(self, address)

    def frames_arrived(self, connection: StreamConnection, frames: list[bytes], nbytes: int) -> None:
        self._counts["packets_recv"] += len(frames)
        self._counts["bytes_recv"] += nbytes
        with _delivering:
            self._host.frames_received(self, connection.address, frames)
        with _delivering:
            self._host.burst_ended()

    def frames_dropped(self, connection: StreamConnection, frames: list[bytes]) -> None:
        self._counts["send_errors"] += len(frames)
        self._counts["packets_sent"] -= len(frames)
        self._counts["bytes_sent"] -= sum(map(len, frames))

    def connection_ended(self, connection: StreamConnection, cause: str | None) -> None:
        closed = self._closing.pop(connection, None)
        if closed is not None:
            closed.callback(None)
        if cause is None or self._open.get(connection.address) is not connection:
            return
        self._take_out(connection.address)
        lost = self._queue.pop(connection, [])
        self._counts["send_errors"] += len(lost)
        self._counts["recv_errors"] += 1  # a clean end counts as well, which operators know (spec 04 section 4.5)
        if not connection.inbound:
            self._went_wrong(connection.address)
        with _telling:
            self._host.connection_lost(self, connection.address, cause, not connection.inbound)

    # -- sending

    def send(self, address: str, frames: list[bytes]) -> None:
        """Queue `frames` until `flush`; those too long for the connection are refused and counted."""
        connection = self._open.get(address)
        if connection is None:
            self._counts["send_errors"] += len(frames)
            return
        mtu = connection.mtu
        if max(map(len, frames), default=0) > mtu:
            fitting = [frame for frame in frames if len(frame) <= mtu]
            self._counts["mtu_exceeded"] += len(frames) - len(fitting)
            frames = fitting
        queued = self._queue.get(connection)
        if queued is None:
            self._queue[connection] = frames[:]
        else:
            queued += frames

    def flush(self) -> None:
        """Write everything queued, one write per connection."""
        if self._queue:
            queue, self._queue = self._queue, {}
            for connection, frames in queue.items():
                self._write(connection, frames)

    def _write(self, connection: StreamConnection, frames: list[bytes]) -> None:
        self._counts["packets_sent"] += len(frames)
        self._counts["bytes_sent"] += sum(map(len, frames))
        connection.send(frames)

    # -- making connections

    def dialled(self, address: str) -> StreamConnection:
        """Make the protocol of a stream that was dialled."""
        return StreamConnection(self, self._reactor, self.mtu, address, False)

    def _accept(self, describe_peer: Callable[[Any], str]) -> Factory:
        """A factory for accepted streams that keeps to the limit; `describe_peer` gives the address of a stream."""
        return _AcceptFactory(self, describe_peer)

    def accepted(self, address: str) -> StreamConnection | None:
        """Make room for an accepted stream; None when there is none."""
        if self.state != "up" or address in self._open or not self._has_room():
            self._count("connections_rejected")
            return None
        return StreamConnection(self, self._reactor, self.mtu, address, True)

    def _has_room(self) -> bool:
        """Whether one more stream may be accepted; one that carries no link gives way to it."""
        if self._inbound() < self._max_inbound:
            return True
        address = self._visitors.give_way(lambda visitor: self._host.carries_link(self, visitor))
        if address is None:
            return False
        self._count("connections_displaced")
        connection = self._open.pop(address)
        self._queue.pop(connection, None)
        connection.abort("its place was needed")
        with _telling:
            self._host.connection_lost(self, address, "its place was needed", False)
        return True


class _DialFactory(Factory):
    """Makes the one connection of a dial."""

    noisy = False

    def __init__(self, owner: StreamTransport, address: str) -> None:
        self._owner = owner
        self._address = address

    def buildProtocol(self, addr: Any) -> StreamConnection:  # noqa: N802
        return self._owner.dialled(self._address)


@implementer(ILoggingContext)
class _AcceptFactory(Factory):
    """Makes connections of accepted streams; where it makes none, Twisted closes the stream."""

    noisy = False

    def __init__(self, owner: StreamTransport, describe_peer: Callable[[Any], str]) -> None:
        self._owner = owner
        self._describe_peer = describe_peer

    def logPrefix(self) -> str:  # noqa: N802
        return self._owner.kind

    def buildProtocol(self, addr: Any) -> StreamConnection | None:  # noqa: N802
        return self._owner.accepted(self._describe_peer(addr))


def stopped(listening: Any) -> Deferred[Any]:
    """Stop a listening port; the value fires when it is closed."""
    done = listening.stopListening()
    return done if isinstance(done, Deferred) else succeed(None)
