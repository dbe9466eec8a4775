"""IPv6 packets as they travel inside a session: without addresses and length (spec 02 section 11.1).

These are the plain forms; the adapter has its own for runs of packets.
"""

from __future__ import annotations

from .errors import WireError, need

SHIM_PORT = 256
SHIM_FORMAT = 0
SHIM_HEADER_SIZE = 7
IPV6_HEADER_SIZE = 40
_VERSION = 6
_MAX_PAYLOAD = 0xFFFF


def compress(packet: bytes) -> bytes:
    """Return the payload for port 256; raise `WireError` when this is no IPv6 packet."""
    need(packet, IPV6_HEADER_SIZE, "an IPv6 packet")
    if packet[0] >> 4 != _VERSION:
        raise WireError(f"an IP packet of version {packet[0] >> 4}")
    return b"".join((bytes((SHIM_FORMAT,)), packet[:4], packet[6:8], packet[IPV6_HEADER_SIZE:]))


def decompress(payload: bytes, source: bytes, destination: bytes) -> bytes:
    """Return the IPv6 packet between two 16-byte addresses; raise `WireError` when the payload is not a shim."""
    need(payload, SHIM_HEADER_SIZE, "an IPv6 shim")
    if payload[0] != SHIM_FORMAT:
        raise WireError(f"an IPv6 shim of format {payload[0]}")
    length = len(payload) - SHIM_HEADER_SIZE
    if length > _MAX_PAYLOAD:
        raise WireError(f"an IPv6 payload of {length} bytes")
    first = bytes((_VERSION << 4 | payload[1] & 0x0F,))
    tail = payload[SHIM_HEADER_SIZE:]
    return b"".join((first, payload[2:5], length.to_bytes(2, "big"), payload[5:7], source, destination, tail))
