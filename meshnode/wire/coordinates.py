"""Address-only coordinates: who a node is and its ancestors up to the root (spec 03 section 2)."""

from __future__ import annotations

from struct import Struct

from .errors import WireError, need

ADDRESS_SIZE = 16
_COUNT = Struct("<H")
_MAX_COUNT = 0xFFFF


def encode_coordinates(coordinates: list[bytes]) -> bytes:
    """Return the list as a u16 count and 16 bytes for each entry; an empty list stands for "absent"."""
    joined = b"".join(coordinates)
    if len(coordinates) > _MAX_COUNT or len(joined) != ADDRESS_SIZE * len(coordinates):
        raise WireError("coordinates are at most 65,535 addresses of 16 bytes")
    return _COUNT.pack(len(coordinates)) + joined


def encode_required_coordinates(coordinates: list[bytes]) -> bytes:
    """Return the list for a place where it may not be absent; raise `WireError` when it is empty."""
    if not coordinates:
        raise WireError("this message needs coordinates")
    return encode_coordinates(coordinates)


def parse_coordinates(buffer: bytes, offset: int, required: bool) -> tuple[list[bytes], int]:
    """Return the list at `offset` and where it ends.

    Raises `WireError` when bytes are missing, or when the list is empty and `required`.
    """
    start = offset + _COUNT.size
    need(buffer, start, "a coordinate list")
    (count,) = _COUNT.unpack_from(buffer, offset)
    if required and not count:
        raise WireError("the coordinate list is empty")
    end = start + ADDRESS_SIZE * count
    need(buffer, end, "a coordinate list")
    return [buffer[at : at + ADDRESS_SIZE] for at in range(start, end, ADDRESS_SIZE)], end
