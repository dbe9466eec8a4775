"""The Internet checksum of IPv6 transports (RFC 1071, RFC 8200 section 8.1; spec 02 section 11.7).

Summing 16-bit words with end-around carry is arithmetic modulo 65535, and CPython reduces one long integer in C an
order of magnitude faster than a loop over words could add them.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58

IPV6_HEADER_SIZE: Final = 40

_WORD = Struct("!H")

# Where each transport keeps its checksum, and the shortest header that has one.
_CHECKSUM_AT: Final = {TCP: (16, 20), UDP: (6, 8)}


def word_sum(data: bytes) -> int:
    """Sum of the big-endian 16-bit words of `data` modulo 65535; an odd last byte counts as the high half of a word."""
    total = int.from_bytes(data, "big")
    return (total << 8 if len(data) & 1 else total) % 0xFFFF


def pseudo_header_sum(addresses: bytes, length: int, next_header: int) -> int:
    """Word sum of the IPv6 pseudo-header; `addresses` is source then destination (32 bytes)."""
    return (int.from_bytes(addresses, "big") + length + next_header) % 0xFFFF


def transport_checksum(addresses: bytes, next_header: int, segment: bytes) -> int:
    """Checksum for `segment`, whose own checksum field must be zero.

    Called for a segment that holds its checksum already, the result is 0 exactly when that checksum is right.
    """
    # A pseudo-header is never all zero, so a sum of zero stands for 0xffff and its complement is 0.
    return -(pseudo_header_sum(addresses, len(segment), next_header) + word_sum(segment)) % 0xFFFF


def with_transport_checksum(packet: bytes) -> bytes:
    """`packet` with its TCP or UDP checksum made right.

    Returned as it is when the transport is another one, or when its header or the length field does not fit.
    """
    if len(packet) < IPV6_HEADER_SIZE or packet[6] not in _CHECKSUM_AT:
        return packet
    next_header = packet[6]
    at, shortest = _CHECKSUM_AT[next_header]
    (length,) = _WORD.unpack_from(packet, 4)
    end = IPV6_HEADER_SIZE + length
    if length < shortest or end > len(packet):
        return packet
    at += IPV6_HEADER_SIZE
    cleared = packet[IPV6_HEADER_SIZE:at] + b"\0\0" + packet[at + 2 : end]
    checksum = transport_checksum(packet[8:40], next_header, cleared)
    if checksum == 0 and next_header == UDP:
        checksum = 0xFFFF
    return packet[:at] + _WORD.pack(checksum) + packet[at + 2 :]
