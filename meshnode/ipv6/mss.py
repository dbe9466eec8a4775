"""TCP maximum segment size: ceilings from path MTUs, the clamp on SYN packets (spec 02 sections 10.1, 10.4, 11.7)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from meshnode.ipv6.checksum import TCP, with_transport_checksum

MESH_OVERHEAD: Final = 77
"""Bytes that the mesh adds to an IPv6 packet on a link (FIPS_IPV6_OVERHEAD)."""

MOST_PEERS: Final = 4096
"""Path MTUs remembered; the one learnt first is forgotten first."""

_MESH_PREFIX: Final = 0xFD
_MIN_TRANSPORT_MTU: Final = 1280
_HEADERS: Final = 60
_OPTION_END, _OPTION_PAD, _OPTION_MSS = 0, 1, 2
_WORD = Struct("!H")


def effective_ipv6_mtu(mtu: int) -> int:
    """Largest IPv6 packet, in bytes, in link frames of at most `mtu` bytes."""
    return max(0, mtu - MESH_OVERHEAD)


def mss_ceiling(mtu: int) -> int:
    """Largest TCP payload, in bytes, of a packet without options in link frames of at most `mtu` bytes."""
    return max(0, effective_ipv6_mtu(mtu) - _HEADERS)


class MssCeilings:
    """What is known of path MTUs, as segment sizes. Addresses are 16 bytes; `transport_mtu` is of link frames."""

    __slots__ = ("_by_peer", "everywhere", "unknown")

    def __init__(self, transport_mtu: int) -> None:
        self.everywhere = mss_ceiling(transport_mtu)
        self.unknown = min(self.everywhere, mss_ceiling(_MIN_TRANSPORT_MTU))
        self._by_peer: dict[bytes, int] = {}

    def set_path_mtu(self, peer: bytes, mtu: int | None) -> None:
        """Remember that link frames to `peer` may have `mtu` bytes; None forgets it."""
        if mtu is None:
            self._by_peer.pop(peer, None)
        else:
            self._by_peer.pop(peer, None)
            if len(self._by_peer) >= MOST_PEERS:
                del self._by_peer[next(iter(self._by_peer))]
            self._by_peer[peer] = mss_ceiling(mtu)

    def ceiling(self, peer: bytes) -> int:
        """Largest segment size to agree on with `peer`; 0 means leave it alone."""
        known = self._by_peer.get(peer, 0) if peer[0] == _MESH_PREFIX else 0
        return min(self.everywhere, known) if known else self.unknown


def is_syn(packet: bytes) -> bool:
    """Whether an IPv6 packet is a TCP SYN or SYN-ACK directly after the fixed header."""
    return len(packet) >= _HEADERS and packet[6] == TCP and packet[53] & 0x02 != 0


def clamp_mss(packet: bytes, ceiling: int) -> bytes:
    """`packet` with the segment size its SYN offers lowered to `ceiling`, checksum included; else as it is."""
    if not ceiling or not is_syn(packet):
        return packet
    at = _offered_size_at(packet)
    if at is None or _WORD.unpack_from(packet, at)[0] <= ceiling:
        return packet
    return with_transport_checksum(packet[:at] + _WORD.pack(ceiling) + packet[at + 2 :])


def _offered_size_at(packet: bytes) -> int | None:
    """Where the value of the segment size option is; options are those of the TCP header behind the fixed IPv6 one."""
    header_size = (packet[52] >> 4) * 4
    end = 40 + header_size
    if header_size < 20 or end > len(packet):
        return None
    at = _HEADERS
    while at < end:
        kind = packet[at]
        if kind == _OPTION_PAD:
            at += 1
            continue
        if kind == _OPTION_END or at + 2 > end:
            return None
        size = packet[at + 1]
        if size < 2 or at + size > end:
            return None
        if kind == _OPTION_MSS:
            return at + 2 if size == 4 else None
        at += size
    return None
