"""One stream that carries frames in both directions, as a Twisted protocol (spec 04 sections 3 and 4).

Reads come in chunks of many frames and are handed up as one list; writes go down as one list per burst. What the other
side does not take waits in a bounded queue, and beyond that whole frames are dropped: a stream never blocks the node,
and never holds more than a moment's worth of frames that are old when they arrive.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, IWriteDescriptor
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.transports.causes import describe
from meshnode.transports.framing import FrameReader

QUEUE_BYTES = 256 * 1024
FIRST_FRAME_SECS = 30.0
CLOSE_SECS = 5.0


class ConnectionOwner(Protocol):
    """The transport, as its connections see it."""

    def connection_open(self, connection: StreamConnection) -> None: ...
    def frames_arrived(self, connection: StreamConnection, frames: list[bytes], nbytes: int) -> None: ...
    def frames_dropped(self, connection: StreamConnection, frames: list[bytes]) -> None: ...
    def connection_ended(self, connection: StreamConnection, cause: str | None) -> None: ...


@implementer(IPushProducer)
class StreamConnection(TwistedProtocol):
    """One connection. `address` is its name in the transport, `mtu` the longest frame that may be sent over it.

    An accepted connection must deliver one whole frame within `FIRST_FRAME_SECS`.
    """

    transport: Any  # an ITCPTransport with getHandle, which no interface promises

    def __init__(self, owner: ConnectionOwner, reactor: IReactorTime, mtu: int, address: str, inbound: bool) -> None:
        self.address = address
        self.inbound = inbound
        self.mtu = mtu
        self.is_open = False
        self._owner = owner
        self._reactor = reactor
        self._reader = FrameReader(mtu)
        self._cause: str | None = None
        self._timer: IDelayedCall | None = None
        self._writes_at_once = False
        self._paused = False
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    # -- life

    def connectionMade(self) -> None:  # noqa: N802
        self.is_open = True
        self.transport.registerProducer(self, True)
        self._writes_at_once = IWriteDescriptor.providedBy(self.transport)
        if self.inbound:
            self._timer = self._reactor.callLater(FIRST_FRAME_SECS, self._nothing_came)
        self._owner.connection_open(self)

    def _nothing_came(self) -> None:
        begun = f" ({self._reader.pending} bytes of one came)" if self._reader.pending else ""
        self.abort(f"no frame within {FIRST_FRAME_SECS:g} s{begun}")

    def close(self) -> None:
        """Let what is queued leave, then end the connection; the owner is not told."""
        if not self.is_open:
            return
        self.is_open = False
        self._stop_timer()
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._write(waiting)
        self.transport.unregisterProducer()  # who might have more to say keeps a full connection open
        self.transport.loseConnection()
        self._timer = self._reactor.callLater(CLOSE_SECS, self.transport.abortConnection)

    def abort(self, cause: str) -> None:
        """End the connection at once."""
        self._cause = cause
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        was_open, self.is_open = self.is_open, False
        self._stop_timer()
        self._waiting, self._waiting_bytes = [], 0
        self._owner.connection_ended(self, (self._cause or describe(reason)) if was_open else None)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # -- receiving

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if not self.is_open:
            return
        frames = self._reader.feed(data)
        if frames:
            if self._timer is not None:
                self._stop_timer()
            self._owner.frames_arrived(self, frames, len(data))
        if self._reader.broken is not None:
            self.abort(f"the other side sent {self._reader.broken}")

    # -- sending

    def send(self, frames: list[bytes]) -> None:
        """Write `frames` as one; those that find the queue full are handed to the owner as dropped."""
        if not self._paused:
            self._write(frames)
            return
        for number, frame in enumerate(frames):
            if self._waiting_bytes + len(frame) > QUEUE_BYTES:
                self._owner.frames_dropped(self, frames[number:])
                return
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)

    def _write(self, frames: list[bytes]) -> None:
        if frames:
            self.transport.writeSequence(frames)
            # Left to itself Twisted writes in the next turn of the reactor, which single packets would wait for. What
            # goes wrong here goes wrong there once more, where it is dealt with.
            if self._writes_at_once:
                self.transport.doWrite()

    def pauseProducing(self) -> None:  # noqa: N802
        """Note that the system takes no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802
        """Note that everything written has left."""
        self._paused = False
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._write(waiting)

    def stopProducing(self) -> None:  # noqa: N802
        """Note that the connection is going down."""
