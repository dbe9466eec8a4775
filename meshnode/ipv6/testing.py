"""A TUN driver in memory, for tests of `TunDevice` and of what is above it. In the manner of `twisted.pair.testing`."""

from __future__ import annotations

import errno
from collections import deque
from struct import Struct
from typing import Any, Final

from meshnode.ipv6.checksum import UDP
from meshnode.ipv6.coalesce import NEEDS_CHECKSUM, NO_OFFLOAD, SEGMENTED_TCPV6, SEGMENTED_UDP, VIRTIO_HEADER
from meshnode.ipv6.tun import SET_OFFLOAD

_IFREQ = Struct("16sH")
_VNET_HDR: Final = 0x4000
_WORD = Struct("!H")
_SEQUENCE = Struct("!I")
_LAST_ONLY: Final = 0x09
"""PSH and FIN: of a merged packet's segments, the last one has them."""


class FakeTunSystem:
    """A `TunSystem` without a kernel: what the test queues is read, what is written is kept.

    `interfaces` are the names that exist, with True for a TUN; `refusals` are error numbers that the next ioctls that
    attach fail with; `offload` is whether there is a virtio header, `datagrams` whether UDP may be merged under it;
    `may_open` is whether the clone device can be opened; `asked_for` is what we want to get merged. In `incoming` and
    `write_refusals`, a number is an error to fail with.
    """

    def __init__(self, offload: bool = True, datagrams: bool = True) -> None:
        self.offload = offload
        self.datagrams = datagrams
        self.asked_for = 0
        self.interfaces: dict[str, bool] = {}
        self.refusals: deque[int] = deque()
        self.incoming: deque[bytes | int] = deque()
        self.write_refusals: deque[int | None] = deque()
        self.frames: list[bytes] = []
        self.open_descriptors: set[int] = set()
        self.may_open = True
        self.discarded: list[str] = []
        self._next = 3
        self._attached = ""
        self._header_size = 0

    # TunSystem

    def open(self) -> int:
        if not self.may_open:
            raise _error(errno.EACCES)
        fd, self._next = self._next, self._next + 1
        self.open_descriptors.add(fd)
        return fd

    def ioctl(self, fd: int, request: int, argument: Any) -> Any:
        self._check(fd)
        if request == SET_OFFLOAD:
            if argument and not self.datagrams:
                raise _error(errno.EINVAL)
            self.asked_for = argument
            return 0
        if isinstance(argument, int):
            self.discarded.append(self._attached)
            self.interfaces.pop(self._attached, None)
            return 0
        if self.refusals:
            raise _error(self.refusals.popleft())
        name, flags = _IFREQ.unpack_from(argument)
        if flags & _VNET_HDR and not self.offload:
            raise _error(errno.EINVAL)
        self._attached = name.rstrip(b"\0").decode()
        if not self.interfaces.setdefault(self._attached, True):
            raise _error(errno.EINVAL)
        self._header_size = len(NO_OFFLOAD) if flags & _VNET_HDR else 0
        return argument

    def exists(self, name: str) -> bool:
        return name in self.interfaces

    def read(self, fd: int, size: int, /) -> bytes:
        self._check(fd)
        packet = self.incoming.popleft() if self.incoming else errno.EAGAIN
        if isinstance(packet, int):
            raise _error(packet)
        return (bytes(self._header_size) + packet)[:size]

    def write(self, fd: int, data: bytes, /) -> int:
        self._check(fd)
        refusal = self.write_refusals.popleft() if self.write_refusals else None
        if refusal is not None:
            raise _error(refusal)
        self.frames.append(data)
        return len(data)

    def close(self, fd: int) -> None:
        self._check(fd)
        self.open_descriptors.remove(fd)

    # What the host would see

    def packets(self) -> list[bytes]:
        """The packets of all frames written so far, cut as the kernel would cut them; they are forgotten then."""
        frames, self.frames = self.frames, []
        if not self._header_size:
            return frames
        return [packet for frame in frames for packet in kernel_packets(frame)]

    def _check(self, fd: int) -> None:
        if fd not in self.open_descriptors:
            raise _error(errno.EBADF)


def kernel_packets(frame: bytes) -> list[bytes]:
    """The IPv6 packets that a frame with virtio header stands for.

    Segmentation and checksums are done the plain way, word by word, as in the kernel's `tcp_gso_segment` and
    `__udp_gso_segment`.
    """
    flags, kind, header_size, size, start, field = VIRTIO_HEADER.unpack_from(frame)
    packet = frame[VIRTIO_HEADER.size :]
    if kind == 0 and flags == 0:
        return [packet]
    assert (flags, start) == (NEEDS_CHECKSUM, 40)
    assert _WORD.unpack_from(packet, 4)[0] == len(packet) - 40
    assert _WORD.unpack_from(packet, 40 + field)[0] % 0xFFFF == _pseudo_sum(packet, len(packet) - 40) % 0xFFFF
    header, data = packet[:header_size], packet[header_size:]
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    if kind == SEGMENTED_UDP:
        assert (field, header_size, packet[6]) == (6, 48, UDP)
        assert _WORD.unpack_from(packet, 44)[0] == len(packet) - 40
        assert len(pieces) <= 64
        return [_datagram(header, piece) for piece in pieces]
    assert (kind, field, header_size) == (SEGMENTED_TCPV6, 16, 40 + (packet[52] >> 4) * 4)
    return [_segment(header, piece, index * size, index == len(pieces) - 1) for index, piece in enumerate(pieces)]


def _datagram(header: bytes, data: bytes) -> bytes:
    packet = bytearray(header + data)
    for at in (4, 44):
        _WORD.pack_into(packet, at, len(packet) - 40)
    _WORD.pack_into(packet, 46, 0)
    checksum = 0xFFFF ^ _fold(_pseudo_sum(packet, len(packet) - 40) + _words(packet[40:]))
    _WORD.pack_into(packet, 46, checksum or 0xFFFF)
    return bytes(packet)


def _segment(header: bytes, data: bytes, offset: int, is_last: bool) -> bytes:
    packet = bytearray(header + data)
    _WORD.pack_into(packet, 4, len(packet) - 40)
    _SEQUENCE.pack_into(packet, 44, (_SEQUENCE.unpack_from(packet, 44)[0] + offset) & 0xFFFFFFFF)
    if not is_last:
        packet[53] &= ~_LAST_ONLY & 0xFF
    _WORD.pack_into(packet, 56, 0)
    _WORD.pack_into(packet, 56, 0xFFFF ^ _fold(_pseudo_sum(packet, len(packet) - 40) + _words(packet[40:])))
    return bytes(packet)


def _pseudo_sum(packet: bytes | bytearray, length: int) -> int:
    return _fold(_words(packet[8:40]) + length + packet[6])


def _words(data: bytes | bytearray) -> int:
    return sum((high << 8) + low for high, low in zip(data[::2], [*data[1::2], 0], strict=False))


def _fold(total: int) -> int:
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total


def _error(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])
