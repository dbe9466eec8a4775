"""A packet socket as a reactor descriptor: every message is one frame, in both directions, in bursts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

BURST_FRAMES = 64
QUEUE_BYTES = 64 * 1024
"""What waits for a slow peer at most: half a second of good radio. More would only add delay."""
LINGER = 2.0
"""Seconds for what is queued to leave before a channel closes."""


class PacketSocket(Protocol):
    """A connected socket that does not block and keeps message boundaries (`SOCK_SEQPACKET`)."""

    def fileno(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, message: bytes, /) -> int: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class BleCounters:
    """Counters of one transport under the names operators know (spec 04 section 9.5)."""

    packets_sent: int = 0
    bytes_sent: int = 0
    packets_recv: int = 0
    bytes_recv: int = 0
    send_errors: int = 0
    recv_errors: int = 0
    mtu_exceeded: int = 0
    connections_established: int = 0
    connections_accepted: int = 0
    connections_rejected: int = 0
    connect_timeouts: int = 0
    pool_evictions: int = 0
    advertisements_sent: int = 0
    scan_results: int = 0

    def as_dict(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class ChannelUser(Protocol):
    """Who gets what a channel brings."""

    def messages_received(self, channel: Channel, messages: list[bytes]) -> None:
        """Take `messages` in order of arrival."""

    def burst_ended(self) -> None:
        """Note that one reactor wake-up of a channel is over."""

    def channel_lost(self, channel: Channel, cause: str) -> None:
        """Note that `channel` is closed, for `cause`; nothing comes from it any more."""


@implementer(IReadDescriptor, IWriteDescriptor)
class Channel:
    """One channel to the device `peer`. Reads nothing before `open`.

    `mtu` is the largest message, in bytes, that both ends take; `receive_mtu` the largest that may arrive.
    """

    def __init__(self, reactor: Any, sock: PacketSocket, peer: str, mtu: int, receive_mtu: int) -> None:
        self.peer = peer
        self.mtu = mtu
        self.inbound = False
        self._receive_mtu = receive_mtu
        self._reactor = reactor
        self._socket: PacketSocket | None = sock
        self._user: ChannelUser | None = None
        self._counters = BleCounters()
        self._queue: deque[bytes] = deque()
        self._queued = 0

    # -- life

    def open(self, user: ChannelUser) -> None:
        """Begin to read."""
        self._user = user
        self._reactor.addReader(self)

    def hand_over(self, user: ChannelUser, counters: BleCounters) -> None:
        """Let `user` have what comes from now on, and count in `counters`."""
        self._user, self._counters = user, counters

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        """Close without a word to the user; what is queued is dropped. May be called again."""
        if self._socket is None:
            return
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._counters.send_errors += len(self._queue)
        self._queue.clear()
        self._queued = 0
        self._socket.close()
        self._socket = None

    def finish(self) -> None:
        """Close without a word once what is queued has left, or in `LINGER` seconds."""
        self._user = None
        if self._queue:
            self._reactor.removeReader(self)
            self._reactor.callLater(LINGER, self.close)
        else:
            self.close()

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        return f"ble {self.peer}"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Note that the reactor gave the descriptor up."""
        if self._socket is not None:
            self._lose(reason.getErrorMessage())

    def _lose(self, cause: str) -> None:
        user = self._user
        self.close()
        if user is not None:
            user.channel_lost(self, cause)

    # -- sending

    def send(self, messages: list[bytes]) -> None:
        """Send or queue `messages`; those above `mtu`, and those beyond a full queue, are dropped whole and counted."""
        for message in messages:
            if len(message) > self.mtu:
                self._counters.mtu_exceeded += 1
            elif self._queue or not self._write(message):
                self._enqueue(message)

    def _enqueue(self, message: bytes) -> None:
        if self._socket is None or self._queued + len(message) > QUEUE_BYTES:
            self._counters.send_errors += 1
            return
        if not self._queue:
            self._reactor.addWriter(self)
        self._queue.append(message)
        self._queued += len(message)

    def _write(self, message: bytes) -> bool:
        """Hand one message to the system; False when it has no room now, or the channel is lost."""
        if self._socket is None:
            return False
        try:
            self._socket.send(message)
        except BlockingIOError:
            return False
        except OSError as error:
            self._broken(error.strerror or str(error))
            return False
        self._counters.packets_sent += 1
        self._counters.bytes_sent += len(message)
        return True

    def _broken(self, cause: str) -> None:
        """Close now, and tell later: whoever sends is not to be called back from within."""
        user = self._user
        self.close()
        if user is not None:
            self._reactor.callLater(0, user.channel_lost, self, cause)

    def doWrite(self) -> None:  # noqa: N802
        """Send what is queued while there is room."""
        queue = self._queue
        while queue and self._write(queue[0]):
            self._queued -= len(queue.popleft())
        if not queue and self._socket is not None:
            self._reactor.removeWriter(self)
            if self._user is None:
                self.close()

    # -- receiving

    def doRead(self) -> None:  # noqa: N802
        """Read one bounded burst and hand it up."""
        user = self._user
        if user is None:
            return
        messages, cause = self._read()
        if messages:
            user.messages_received(self, messages)
        if cause is not None and self._socket is not None:
            self._lose(cause)
        user.burst_ended()

    def _read(self) -> tuple[list[bytes], str | None]:
        """Return what there is to read, and the cause when the channel has ended."""
        messages: list[bytes] = []
        if self._socket is None:
            return messages, None
        receive = self._socket.recv
        try:
            while len(messages) < BURST_FRAMES:
                message = receive(self._receive_mtu)
                if not message:
                    return messages, "closed by the other side"
                messages.append(message)
        except BlockingIOError:
            pass
        except OSError as error:
            self._counters.recv_errors += 1
            return messages, error.strerror or str(error)
        return messages, None
