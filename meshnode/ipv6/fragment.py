"""Packets in fragments, as their source and their destination deal with them (RFC 8200 section 4.5).

IPv6 promises 1280 bytes, and a kernel that is told of less goes on as before (RFC 8201 section 4). A frame of 1280
bytes, which is what transports have unless told otherwise, has room for 1203. What lies between would be lost for good.
What is split is this host's own, so this is its source; at the other end, the kernel puts it together again.
"""

from __future__ import annotations

from itertools import count
from struct import Struct
from typing import Final

from meshnode.ipv6.checksum import IPV6_HEADER_SIZE

FRAGMENT: Final = 44
SMALLEST_MTU: Final = 1280
"""Longest packet that every IPv6 path carries."""

_HEADER = Struct("!BBHI")
_LENGTH = Struct("!H")
_FLAGS, _MORE, _UNIT = 7, 1, 8
_LONGEST_WHOLE: Final = 0xFFFF
"""What a destination puts together at most, header not counted."""
_MOST_INCOMPLETE: Final = 256
_IN_FRONT: Final = frozenset((0, 43, 60))
"""Hop-by-hop, routing and destination options, which may have to stay before the fragment header."""


class Fragmenter:
    """Splits packets of this host, numbering them from `first` on."""

    __slots__ = ("_numbers",)

    def __init__(self, first: int) -> None:
        self._numbers = count(first)

    def split(self, packet: bytes, mtu: int) -> list[bytes]:
        """The IPv6 `packet` in fragments of at most `mtu` bytes; none where it cannot be split, or not as small."""
        size = (mtu - IPV6_HEADER_SIZE - _HEADER.size) // _UNIT * _UNIT
        kind, start, offset, flags = packet[6], IPV6_HEADER_SIZE, 0, 0
        if size <= 0 or kind in _IN_FRONT:
            return []
        if kind == FRAGMENT and len(packet) >= start + _HEADER.size:
            kind, _reserved, field, number = _HEADER.unpack_from(packet, start)
            start += _HEADER.size
            offset, flags = field & ~_FLAGS, field & _FLAGS
            if offset + len(packet) - start > _LONGEST_WHOLE:
                return []
        else:
            number = next(self._numbers) & 0xFFFFFFFF
        fragments = []
        for at in range(start, len(packet), size):
            part = packet[at : at + size]
            more = flags if at + size >= len(packet) else flags | _MORE
            header = _HEADER.pack(kind, 0, offset + at - start | more, number)
            length = _LENGTH.pack(len(header) + len(part))
            fragments.append(b"".join((packet[:4], length, bytes((FRAGMENT,)), packet[7:40], header, part)))
        return fragments


class Reassembler:
    """Puts packets together again, for hosts without a kernel that does it. The one begun first gives way to others."""

    __slots__ = ("_incomplete",)

    def __init__(self) -> None:
        self._incomplete: dict[bytes, dict[int, bytes]] = {}

    def add(self, packet: bytes) -> bytes | None:
        """The packet that `packet` completes, or is if it is no fragment."""
        if packet[6] != FRAGMENT:
            return packet
        kind, _, field, _ = _HEADER.unpack_from(packet, IPV6_HEADER_SIZE)
        key = packet[8:40] + packet[IPV6_HEADER_SIZE + 4 : IPV6_HEADER_SIZE + _HEADER.size]
        if key not in self._incomplete and len(self._incomplete) >= _MOST_INCOMPLETE:
            del self._incomplete[next(iter(self._incomplete))]
        parts = self._incomplete.setdefault(key, {})
        parts[field] = packet[IPV6_HEADER_SIZE + _HEADER.size :]
        body, ended = b"", False
        for at, part in sorted(parts.items()):
            if ended or at & ~_FLAGS != len(body):
                return None
            body += part
            ended = not at & _MORE
        if not ended:
            return None
        del self._incomplete[key]
        return b"".join((packet[:4], _LENGTH.pack(len(body)), bytes((kind,)), packet[7:40], body))
