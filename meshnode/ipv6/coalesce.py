"""Many packets, one write: what the kernel's receive offload would merge goes to it merged (data-plane rule 3).

A frame here is what a TUN opened with a virtio header takes: that 10-byte header, then one IPv6 packet. TCP segments
that continue each other, and UDP datagrams of one flow and size, become one packet with a segment size, which the
kernel passes up as it is or cuts back into the very packets; anything else becomes a frame of its own. The conditions
are those of the kernel's `tcp_gro_receive` and `udp_gro_receive`.

Checksums of merged packets are not verified. The mesh hands over exactly the bytes that the far host gave it, under
end-to-end authentication, so a checksum could only fail if that host had written it wrong; and that host, which may
write anything it likes, gains nothing by it. Lone packets keep their checksum and the kernel verifies it as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Final

from meshnode.ipv6.checksum import TCP, UDP, pseudo_header_sum
from meshnode.ipv6.shim import SHIM_SIZE, expand, header_start, is_shim

VIRTIO_HEADER = Struct("=BBHHHH")
"""Flags, segmentation type, header length, segment size, checksum start, checksum offset; native byte order."""
NO_OFFLOAD: Final = bytes(VIRTIO_HEADER.size)
NEEDS_CHECKSUM: Final = 1
SEGMENTED_TCPV6: Final = 4
SEGMENTED_UDP: Final = 5

_MAX_IPV6_PAYLOAD: Final = 65535 - 40
"""The largest packet the kernel handles without jumbograms is 65535 bytes, header included."""

_TCP_HEADER: Final = 20
_TCP_FIXED: Final = SHIM_SIZE + _TCP_HEADER
_FLAGS_AT: Final = SHIM_SIZE + 13
_SYN, _PSH, _ACK, _ECE = 0x02, 0x08, 0x10, 0x40
_SEQUENCE_MASK: Final = 0xFFFFFFFF
_WORD = Struct("!H")
_WORDS = Struct("!HH")

_UDP_FIXED: Final = SHIM_SIZE + 8
_LENGTH_AT: Final = SHIM_SIZE + 4
_MOST_DATAGRAMS: Final = 64
"""As many as older kernels let a sender put into one packet (UDP_MAX_SEGMENTS); newer ones take more."""

_HEADER: Final = "!7s4xI8s2x{tail}s"
"""Shim, sequence number, acknowledgement to window, then (the checksum apart) urgent pointer and options."""
_HEADERS: Final = {size: Struct(_HEADER.format(tail=size - 18)).unpack_from for size in range(20, 61, 4)}


@lru_cache(maxsize=512)
def _datagram(payload: int) -> Struct:
    """The same for UDP, in the same five parts: the length field where TCP has its sequence number, and two empty."""
    return Struct(f"!{SHIM_SIZE}s4xH0s0s2x{payload}s")


@lru_cache(maxsize=512)
def _segment(header_size: int, payload: int) -> Struct:
    """Layout of a shim payload with a TCP header and data of these sizes in bytes."""
    return Struct(_HEADER.format(tail=header_size - 18) + f"{payload}s")


class _Run:
    """Segments of one flow, in order and without a gap, on their way to become one frame."""

    __slots__ = (
        "acknowledgement",
        "addresses",
        "first",
        "head",
        "header_size",
        "next",
        "payload",
        "push",
        "room",
        "segments",
        "size",
        "step",
        "tail",
        "unpack",
    )

    def __init__(self, first: bytes, addresses: bytes, header_size: int) -> None:
        """Start with the shim payload `first`, whose TCP header has `header_size` bytes and which carries data."""
        self.first = first
        self.addresses = addresses
        self.header_size = header_size
        self.size = len(first)  # of every shim payload but the last
        self.payload = self.step = self.size - SHIM_SIZE - header_size
        self.unpack = _segment(header_size, self.payload).unpack_from
        self.head, sequence, self.acknowledgement, self.tail, data = self.unpack(first)
        self.next = (sequence + self.payload) & _SEQUENCE_MASK
        self.room = (_MAX_IPV6_PAYLOAD - header_size) // self.payload - 1  # for so many segments more
        self.push = 0
        self.segments = [data]

    def takes_last(self, buffer: bytes, offset: int) -> bool:
        """Take a segment that ends the run by being shorter or pushed; False if it does not continue the run."""
        size = len(buffer) - offset
        data_at = SHIM_SIZE + self.header_size
        if not data_at < size <= self.size:
            return False
        head, sequence, acknowledgement, tail = _HEADERS[self.header_size](buffer, offset)
        self.push = acknowledgement[5] & _PSH
        if self.push:
            acknowledgement = b"%b%c%b" % (acknowledgement[:5], acknowledgement[5] ^ _PSH, acknowledgement[6:])
        if sequence != self.next or (head, acknowledgement, tail) != (self.head, self.acknowledgement, self.tail):
            self.push = 0
            return False
        self.segments.append(buffer[offset + data_at :])
        return True

    def frame(self) -> bytes:
        """The frame of all segments; a single one goes out as it came."""
        first, segments = self.first, self.segments
        if len(segments) == 1:
            return NO_OFFLOAD + expand(first, 0, self.addresses)
        length = self.header_size + self.payload * (len(segments) - 1) + len(segments[-1])
        return b"".join(
            (
                VIRTIO_HEADER.pack(NEEDS_CHECKSUM, SEGMENTED_TCPV6, 40 + self.header_size, self.payload, 40, 16),
                header_start(first, 0, length),
                self.addresses,
                first[SHIM_SIZE:_FLAGS_AT],
                bytes((first[_FLAGS_AT] | self.push,)),
                first[_FLAGS_AT + 1 : _FLAGS_AT + 3],
                _WORD.pack(pseudo_header_sum(self.addresses, length, TCP)),
                first[_FLAGS_AT + 5 : SHIM_SIZE + self.header_size],
                *segments,
            )
        )


class _Datagrams:
    """UDP datagrams of one flow and size on their way to become one frame; grows as a `_Run` does."""

    __slots__ = (
        "acknowledgement",
        "addresses",
        "first",
        "head",
        "next",
        "payload",
        "room",
        "segments",
        "size",
        "step",
        "tail",
        "unpack",
    )

    def __init__(self, first: bytes, addresses: bytes) -> None:
        """Start with the shim payload `first`, a datagram that carries data."""
        self.first = first
        self.addresses = addresses
        self.size = len(first)  # of every shim payload but the last
        self.payload = self.size - _UDP_FIXED
        self.step = 0  # what is a sequence number to TCP stays what it is
        self.unpack = _datagram(self.payload).unpack_from
        self.head, self.next, self.acknowledgement, self.tail, data = self.unpack(first)
        self.room = min(_MOST_DATAGRAMS, (_MAX_IPV6_PAYLOAD - 8) // self.payload) - 1
        self.segments = [data]

    def takes_last(self, buffer: bytes, offset: int) -> bool:
        """Take a datagram that ends the run by being shorter; False if it is none of this flow."""
        size = len(buffer) - offset
        if not _UDP_FIXED < size < self.size or not buffer.startswith(self.head, offset):
            return False
        length, checksum = _WORDS.unpack_from(buffer, offset + _LENGTH_AT)
        if length != size - SHIM_SIZE or not checksum:
            return False
        self.segments.append(buffer[offset + _UDP_FIXED :])
        return True

    def frame(self) -> bytes:
        """The frame of all datagrams; a single one goes out as it came."""
        first, segments = self.first, self.segments
        if len(segments) == 1:
            return NO_OFFLOAD + expand(first, 0, self.addresses)
        length = 8 + self.payload * (len(segments) - 1) + len(segments[-1])
        return b"".join(
            (
                VIRTIO_HEADER.pack(NEEDS_CHECKSUM, SEGMENTED_UDP, 48, self.payload, 40, 6),
                header_start(first, 0, length),
                self.addresses,
                first[SHIM_SIZE:_LENGTH_AT],
                _WORDS.pack(length, pseudo_header_sum(self.addresses, length, UDP)),
                *segments,
            )
        )


class Coalescer:
    """Turns runs of shim payloads into frames. Within a flow nothing overtakes; between flows order may change.

    `clamp` gets every packet with the SYN flag, as an IPv6 packet, and returns the one to deliver. `datagrams` tells
    whether whoever takes the frames cuts up UDP as well. There is something to drain while `waiting` is not empty.
    """

    def __init__(self, own: bytes, clamp: Callable[[bytes], bytes], datagrams: bool = False) -> None:
        self._own = own
        self._clamp = clamp
        self._datagrams = datagrams
        self.waiting: list[bytes | _Run | _Datagrams] = []
        self._addresses = b""
        self._runs: dict[bytes, _Run | _Datagrams] = {}  # what grows, by flow: ports, the source being the present one

    def add(self, source: bytes, buffers: list[bytes], offset: int) -> int:
        """Take shim payloads from the peer with address `source`; each starts at `offset` of its buffer.

        Returns how many were none and are dropped.
        """
        if not self._addresses.startswith(source):
            self._runs.clear()
            self._addresses = source + self._own
        malformed = 0
        run_of = self._runs.get
        ports_at = offset + SHIM_SIZE
        ports_end = ports_at + 4
        for buffer in buffers:
            ports = buffer[ports_at:ports_end]
            run = run_of(ports)
            if run is not None and len(buffer) - offset == run.size:
                head, sequence, acknowledgement, tail, data = run.unpack(buffer, offset)
                if (
                    sequence == run.next
                    and acknowledgement == run.acknowledgement
                    and head == run.head
                    and tail == run.tail
                ):
                    run.segments.append(data)
                    run.next = (sequence + run.step) & _SEQUENCE_MASK
                    run.room -= 1
                    if not run.room:
                        del self._runs[ports]
                    continue
            if is_shim(buffer, offset):
                self._place(buffer, offset)
            else:
                malformed += 1
        return malformed

    def drain(self) -> list[bytes]:
        """All frames since the last call, ready to be written one by one."""
        frames, self.waiting = self.waiting, []
        self._runs.clear()
        return [frame if isinstance(frame, bytes) else frame.frame() for frame in frames]

    def _place(self, buffer: bytes, offset: int) -> None:
        """Find the place of a packet that is not simply the next one of its flow."""
        kind, size = buffer[offset + 5], len(buffer) - offset
        if (kind == TCP and size >= _TCP_FIXED) or (kind == UDP and size >= _UDP_FIXED and self._datagrams):
            ports = buffer[offset + SHIM_SIZE : offset + SHIM_SIZE + 4]
            run = self._runs.pop(ports, None)
            if run is not None and run.takes_last(buffer, offset):
                return
            run = self._start_run(buffer, offset) if kind == TCP else self._start_datagrams(buffer, offset)
            if run is not None:
                self.waiting.append(run)
                if run.room > 0:
                    self._runs[ports] = run
                return
        packet = expand(buffer, offset, self._addresses)
        if kind == TCP and size >= _TCP_FIXED and buffer[offset + _FLAGS_AT] & _SYN:
            packet = self._clamp(packet)
        self.waiting.append(NO_OFFLOAD + packet)

    def _start_run(self, buffer: bytes, offset: int) -> _Run | None:
        """A run that begins with this TCP packet, or None where nothing could ever continue it."""
        header_size = (buffer[offset + _FLAGS_AT - 1] >> 4) * 4
        if buffer[offset + _FLAGS_AT] & ~_ECE != _ACK or header_size < _TCP_HEADER:
            return None
        if len(buffer) - offset <= SHIM_SIZE + header_size:
            return None
        return _Run(buffer[offset:], self._addresses, header_size)

    def _start_datagrams(self, buffer: bytes, offset: int) -> _Datagrams | None:
        """The same for UDP; a datagram without a checksum stays without."""
        length, checksum = _WORDS.unpack_from(buffer, offset + _LENGTH_AT)
        if length != len(buffer) - offset - SHIM_SIZE or length == 8 or not checksum:
            return None
        return _Datagrams(buffer[offset:], self._addresses)
