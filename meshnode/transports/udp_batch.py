"""Many frames per system call: grouping for UDP_SEGMENT, splitting after UDP_GRO, and sending with fallbacks."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import asdict, dataclass
from struct import Struct

from meshnode.transports.addresses import SocketAddress
from meshnode.transports.udp_socket import SOL_UDP, UDP_SEGMENT, DatagramSocket

MAX_SEGMENTS = 64
MAX_RUN_BYTES = 65_000
PUNCH_MAGICS = frozenset({b"NPTC", b"NPTA"})
"""First bytes of hole-punching packets, which share the port with link frames (spec 04 section 2.1)."""
PUNCH_FIRST_BYTE = b"N"[0]
_MAX_PLAIN_DESTINATIONS = 256
_SEGMENT_SIZE = Struct("=H")
# What the kernel answers when a run cannot be segmented: no checksum offload on the way out, option unusable, segment
# larger than the path takes. A datagram sent alone may still go through, fragmented if need be.
_SEGMENTATION_ERRORS = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE})


@dataclass(slots=True)
class UdpCounters:
    """Counters of one UDP instance under their public names (spec 06 section 3.11)."""

    packets_sent: int = 0
    bytes_sent: int = 0
    packets_recv: int = 0
    bytes_recv: int = 0
    send_errors: int = 0
    recv_errors: int = 0
    mtu_exceeded: int = 0
    kernel_drops: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def segment_runs(lengths: list[int]) -> list[tuple[int, int]]:
    """Return `(start, end)` of consecutive groups that may each leave as one segmented send.

    All frames of a group have equal size, except that a shorter one may close it; no group exceeds `MAX_SEGMENTS`
    frames or `MAX_RUN_BYTES` bytes, unless a single frame does.
    """
    runs = []
    start, total = 0, len(lengths)
    while start < total:
        size = lengths[start]
        limit = min(start + MAX_SEGMENTS, start + max(1, MAX_RUN_BYTES // (size or 1)))
        head = lengths[start:limit]
        end = start + len(head)
        if head.count(size) != len(head):
            end = start + 1
            while lengths[end] == size:
                end += 1
            if 0 < lengths[end] < size:
                end += 1
        runs.append((start, end))
        start = end
    return runs


def split_segments(data: bytes, size: int) -> list[bytes]:
    """Cut a coalesced read into the datagrams of `size` bytes it was made of; the last may be shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def without_punches(frames: list[bytes]) -> list[bytes]:
    """Return `frames` less the hole-punching packets among them."""
    return [frame for frame in frames if frame[:4] not in PUNCH_MAGICS]


class BatchSender:
    """Sends lists of frames over one socket with as few system calls as the kernel lets us.

    `refused(address, error, frames)` is told of every failure the system reports, with the number of frames lost.
    Nothing is raised. `segments` says whether UDP_SEGMENT is in use.
    """

    def __init__(
        self,
        socket: DatagramSocket,
        segments: bool,
        counters: UdpCounters,
        refused: Callable[[SocketAddress, OSError, int], None],
    ) -> None:
        self.segments = segments
        self._socket = socket
        self._counters = counters
        self._refused = refused
        self._plain: set[SocketAddress] = set()

    def send(self, address: SocketAddress, frames: list[bytes]) -> bool:
        """Send `frames` in order. False means that the socket is full: the rest was dropped, and more would be."""
        if self.segments and len(frames) > 1 and address not in self._plain:
            return self._send_runs(address, frames)
        return self._send_singly(address, frames)

    def _send_runs(self, address: SocketAddress, frames: list[bytes]) -> bool:
        sendmsg = self._socket.sendmsg
        counters = self._counters
        lengths = list(map(len, frames))
        for start, end in segment_runs(lengths):
            if end - start == 1:
                if not self._send_singly(address, frames[start:end]):
                    counters.send_errors += len(frames) - end
                    return False
                continue
            control = ((SOL_UDP, UDP_SEGMENT, _SEGMENT_SIZE.pack(lengths[start])),)
            try:
                counters.bytes_sent += sendmsg(frames[start:end], control, 0, address)
                counters.packets_sent += end - start
            except BlockingIOError:
                counters.send_errors += len(frames) - start
                return False
            except OSError as error:
                if error.errno in _SEGMENTATION_ERRORS:
                    return self._send_unsegmented(address, frames[start:], error.errno)
                self._refused(address, error, end - start)
        return True

    def _send_unsegmented(self, address: SocketAddress, frames: list[bytes], number: int) -> bool:
        """Send what a segmented send refused; if it gets through this way, remember what not to do again.

        A path with a small MTU is the business of one destination, anything else of the whole socket. When single
        datagrams fail as well, segmentation was not to blame (a link-local address without a scope, say).
        """
        sent_before = self._counters.packets_sent
        more = self._send_singly(address, frames)
        if self._counters.packets_sent == sent_before:
            return more
        if number == errno.EMSGSIZE:
            if len(self._plain) >= _MAX_PLAIN_DESTINATIONS:
                self._plain.clear()
            self._plain.add(address)
        else:
            self.segments = False
        return more

    def _send_singly(self, address: SocketAddress, frames: list[bytes]) -> bool:
        sendto = self._socket.sendto
        sent = nbytes = 0
        more = True
        for position, frame in enumerate(frames):
            try:
                nbytes += sendto(frame, address)
                sent += 1
            except BlockingIOError:
                self._counters.send_errors += len(frames) - position
                more = False
                break
            except OSError as error:
                self._refused(address, error, 1)
        self._counters.packets_sent += sent
        self._counters.bytes_sent += nbytes
        return more
