"""UDP sockets without a network, for tests: the kernel's part in memory, its refusals on demand."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshnode.transports.addresses import SocketAddress, family_of
from meshnode.transports.udp_socket import (
    SO_RCVBUFFORCE,
    SO_RXQ_OVFL,
    SO_SNDBUFFORCE,
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
)

_MAX_PAYLOAD = 65507
_KERNEL_SEGMENTS = 128
_FIRST_DESCRIPTOR = 1000


def _refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass(slots=True)
class SentBatch:
    """One system call that sent something; `segment` is its UDP_SEGMENT size, None for a plain datagram."""

    frames: list[bytes]
    segment: int | None
    address: SocketAddress


@dataclass(slots=True)
class _Datagrams:
    data: bytes
    control: list[tuple[int, int, bytes]]
    sender: SocketAddress


@dataclass(slots=True)
class FakeSockets:
    """A `SocketSystem` whose sockets reach each other by address.

    `unsupported` holds `(level, option)` pairs that `setsockopt` refuses, `families` the address families there are,
    `buffer_limit` the bytes that SO_RCVBUF and SO_SNDBUF are clamped to without their FORCE variants.
    """

    families: set[int] = field(default_factory=lambda: {socket.AF_INET, socket.AF_INET6})
    unsupported: set[tuple[int, int]] = field(default_factory=set)
    buffer_limit: int = 212_992
    opened: list[FakeSocket] = field(default_factory=list)

    def socket(self, family: int) -> FakeSocket:
        if family not in self.families:
            raise _refuse(errno.EAFNOSUPPORT)
        opened = FakeSocket(self, family, _FIRST_DESCRIPTOR + len(self.opened))
        self.opened.append(opened)
        return opened

    def bound_at(self, address: SocketAddress) -> FakeSocket | None:
        """Return the open socket that a datagram to `address` reaches."""
        for candidate in self.opened:
            local = candidate.local
            if local is not None and local[1] == address[1] and local[0] in (address[0], "0.0.0.0", "::"):
                return candidate
        return None


class FakeSocket:
    """One socket of `FakeSockets`.

    `sent` records what left, one entry per call. `failures` holds error numbers for the coming sends, 0 letting one
    through; `receive_failures` the same for reads. `room` is how many more sends fit before EAGAIN, None for no end.
    `path_mtu` is the largest segment that leaves unfragmented.
    """

    def __init__(self, system: FakeSockets, family: int, descriptor: int) -> None:
        self.family = family
        self.local: SocketAddress | None = None
        self.options: dict[tuple[int, int], int] = {}
        self.closed = False
        self.sent: list[SentBatch] = []
        self.failures: deque[int] = deque()
        self.receive_failures: deque[int] = deque()
        self.room: int | None = None
        self.path_mtu = _MAX_PAYLOAD
        self._system = system
        self._descriptor = descriptor
        self._inbox: deque[_Datagrams] = deque()

    # -- what the transport calls -------------------------------------------------------------------------------------

    def bind(self, address: Any, /) -> None:
        if any(self._conflicts(other, address) for other in self._system.opened):
            raise _refuse(errno.EADDRINUSE)
        port = address[1] or 40_000 + self._descriptor
        self.local = (address[0], port, *address[2:])

    def _conflicts(self, other: FakeSocket, address: SocketAddress) -> bool:
        if other.local is None or not address[1] or other.local[1] != address[1]:
            return False
        if other.family == family_of(address):
            return other.local[0] == address[0] or {other.local[0], address[0]} & {"0.0.0.0", "::"} != set()
        six = other if other.family == socket.AF_INET6 else self
        return not six.options.get((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 0)

    def getsockname(self) -> Any:
        return self.local

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        if (level, option) in self._system.unsupported:
            raise _refuse(errno.ENOPROTOOPT)
        if (level, option) in ((socket.SOL_SOCKET, socket.SO_RCVBUF), (socket.SOL_SOCKET, socket.SO_SNDBUF)):
            value = min(value, self._system.buffer_limit)
        plain = {SO_RCVBUFFORCE: socket.SO_RCVBUF, SO_SNDBUFFORCE: socket.SO_SNDBUF}
        if level == socket.SOL_SOCKET:
            option = plain.get(option, option)
        self.options[level, option] = value

    def getsockopt(self, level: int, option: int, /) -> int:
        return 2 * self.options.get((level, option), 0)

    def sendto(self, data: bytes, address: Any, /) -> int:
        return self._send([data], None, address)

    def sendmsg(
        self, buffers: Iterable[bytes], ancillary: Iterable[tuple[int, int, bytes]], flags: int, address: Any, /
    ) -> int:
        ((level, kind, value),) = ancillary
        if (level, kind) != (SOL_UDP, UDP_SEGMENT):
            raise _refuse(errno.EINVAL)
        segment = int.from_bytes(value, sys.byteorder)
        frames = list(buffers)
        if len(frames) > _KERNEL_SEGMENTS or any(len(frame) != segment for frame in frames[:-1]):
            raise _refuse(errno.EINVAL)
        if sum(map(len, frames)) > _MAX_PAYLOAD or segment > self.path_mtu:
            raise _refuse(errno.EMSGSIZE)
        return self._send(frames, segment, address)

    def recvmsg(self, size: int, ancillary_size: int, /) -> tuple[bytes, Sequence[tuple[int, int, bytes]], int, Any]:
        if self.closed:
            raise _refuse(errno.EBADF)
        if self.receive_failures:
            raise _refuse(self.receive_failures.popleft())
        if not self._inbox:
            raise _refuse(errno.EAGAIN)
        read = self._inbox.popleft()
        return read.data[:size], read.control, 0, read.sender

    def fileno(self) -> int:
        return -1 if self.closed else self._descriptor

    def close(self) -> None:
        self.closed, self.local = True, None

    # -- what a test calls --------------------------------------------------------------------------------------------

    def arrive(
        self, data: bytes, sender: SocketAddress, segment: int | None = None, overflows: int | None = None
    ) -> None:
        """Put one read into the inbox: `segment` as UDP_GRO tells it, `overflows` as SO_RXQ_OVFL does."""
        control = []
        if segment is not None:
            control.append((SOL_UDP, UDP_GRO, segment.to_bytes(4, sys.byteorder)))
        if overflows is not None:
            control.append((socket.SOL_SOCKET, SO_RXQ_OVFL, overflows.to_bytes(4, sys.byteorder)))
        self._inbox.append(_Datagrams(data, control, sender))

    def _send(self, frames: list[bytes], segment: int | None, address: SocketAddress) -> int:
        number = self.failures.popleft() if self.failures else 0
        if number:
            raise _refuse(number)
        if self.room is not None:
            if self.room == 0:
                raise _refuse(errno.EAGAIN)
            self.room -= 1
        self.sent.append(SentBatch(frames, segment, address))
        self._carry(frames, segment, address)
        return sum(map(len, frames))

    def _carry(self, frames: list[bytes], segment: int | None, address: SocketAddress) -> None:
        receiver = self._system.bound_at(address)
        if receiver is None or self.local is None:
            return
        source: SocketAddress = (address[0], self.local[1], *self.local[2:]) if len(address) == 2 else self.local
        if segment is not None and receiver.options.get((SOL_UDP, UDP_GRO)):
            receiver.arrive(b"".join(frames), source, segment)
            return
        for frame in frames:
            receiver.arrive(frame, source)
