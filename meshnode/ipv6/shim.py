"""The header shim of port 256 for whole runs of packets (spec 02 section 11.1).

Between two mesh addresses the IPv6 addresses and the payload length say nothing that the session does not know, so
only the rest of the header travels: `0x00 | first word | next header | hop limit | payload`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

SHIM_SIZE: Final = 7
"""Bytes in front of the IPv6 payload: the format byte and what remains of the header."""

_MAX_PAYLOAD: Final = 0xFFFF

# First byte with the version set, rest of the first word, payload length, next header and hop limit.
_HEADER_START = Struct("!B3sH2s")


def shim_payloads(packets: list[bytes]) -> list[bytes]:
    """The shim form of each of `packets`, in order. Every one must be an IPv6 packet of at least 40 bytes."""
    return [b"\0%b%b%b" % (packet[:4], packet[6:8], packet[40:]) for packet in packets]


def is_shim(buffer: bytes, offset: int) -> bool:
    """Whether an expandable shim payload starts at `offset`."""
    return SHIM_SIZE <= len(buffer) - offset <= SHIM_SIZE + _MAX_PAYLOAD and buffer[offset] == 0


def header_start(buffer: bytes, offset: int, length: int) -> bytes:
    """First 8 bytes of the IPv6 header for the shim at `offset`, announcing `length` bytes after the header."""
    return _HEADER_START.pack(
        0x60 | buffer[offset + 1] & 0x0F, buffer[offset + 2 : offset + 5], length, buffer[offset + 5 : offset + 7]
    )


def expand(buffer: bytes, offset: int, addresses: bytes) -> bytes:
    """The IPv6 packet of the shim at `offset`, which `is_shim` accepts; `addresses` is source then destination."""
    start = offset + SHIM_SIZE
    return header_start(buffer, offset, len(buffer) - start) + addresses + buffer[start:]


def expand_payloads(buffers: list[bytes], offset: int, addresses: bytes) -> list[bytes]:
    """IPv6 packets of a run of shim payloads from one source, in order; what is no shim payload is left out."""
    return [expand(buffer, offset, addresses) for buffer in buffers if is_shim(buffer, offset)]


def mark_congestion(buffer: bytes, offset: int) -> bytes:
    """The shim payload at `offset`, moved to the start; CE is set unless its ECN field is 0 (spec 02 section 11.8)."""
    second = buffer[offset + 2] if len(buffer) - offset >= SHIM_SIZE else 0
    if second & 0x30 == 0:
        return buffer[offset:]
    return buffer[offset : offset + 2] + bytes((second | 0x30,)) + buffer[offset + 3 :]
