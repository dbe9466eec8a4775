"""ICMPv6 errors that a node answers its own host with (spec 02 section 11.6). They go to the local stack only."""

from __future__ import annotations

from struct import Struct
from typing import Final

from meshnode.ipv6.checksum import ICMPV6, IPV6_HEADER_SIZE, transport_checksum

_DESTINATION_UNREACHABLE, _PACKET_TOO_BIG = 1, 2
_QUOTED: Final = 1232
"""Most bytes of the offending packet in an error, which keeps the whole within the minimum MTU of 1280."""
_MULTICAST: Final = 0xFF
_FIRST_INFORMATIONAL: Final = 128
_UNSPECIFIED: Final = bytes(16)

_IP_START = Struct("!IHBB")
_ICMP = Struct("!BBHI")


def destination_unreachable(packet: bytes, own: bytes) -> bytes | None:
    """Destination Unreachable (no route) from address `own` about `packet`, or None where none may be sent."""
    if not may_be_answered(packet) or packet[24] == _MULTICAST:
        return None
    return _error(_DESTINATION_UNREACHABLE, 0, own, packet)


def packet_too_big(packet: bytes, mtu: int) -> bytes | None:
    """Packet Too Big with `mtu` about `packet`, or None where none may be sent.

    It appears to come from where the packet was going to: Linux ignores one from an address of its own.
    """
    if not may_be_answered(packet):
        return None
    return _error(_PACKET_TOO_BIG, mtu, packet[24:40], packet)


def may_be_answered(packet: bytes) -> bool:
    """Whether any ICMPv6 error about `packet` is allowed: a unicast source, and not an error itself."""
    if len(packet) < IPV6_HEADER_SIZE or packet[0] >> 4 != 6:
        return False
    source = packet[8:24]
    if source == _UNSPECIFIED or source[0] == _MULTICAST:
        return False
    is_error = packet[6] == ICMPV6 and len(packet) > IPV6_HEADER_SIZE and packet[40] < _FIRST_INFORMATIONAL
    return not is_error


def _error(kind: int, parameter: int, source: bytes, packet: bytes) -> bytes:
    quoted = packet[:_QUOTED]
    addresses = source + packet[8:24]
    checksum = transport_checksum(addresses, ICMPV6, _ICMP.pack(kind, 0, 0, parameter) + quoted)
    start = _IP_START.pack(0x60000000, _ICMP.size + len(quoted), ICMPV6, 64)
    return start + addresses + _ICMP.pack(kind, 0, checksum, parameter) + quoted


class SourceLimiter:
    """Lets one error per source address pass in every interval. Times are monotonic seconds."""

    __slots__ = ("_last", "_purged")

    INTERVAL: Final = 0.1
    KEPT: Final = 10.0

    def __init__(self) -> None:
        self._last: dict[bytes, float] = {}
        self._purged = 0.0

    def __len__(self) -> int:
        """Sources remembered."""
        return len(self._last)

    def charge(self, source: bytes, now: float) -> bool:
        """Whether an error to `source` may go out now; if so, it is taken as sent."""
        if now - self._purged >= self.KEPT:
            self._purged = now
            self._last = {address: at for address, at in self._last.items() if now - at < self.KEPT}
        last = self._last.get(source)
        if last is not None and now - last < self.INTERVAL:
            return False
        self._last[source] = now
        return True
