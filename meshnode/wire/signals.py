"""Errors that a node on the way reports to the source of a datagram, in the clear (spec 02 section 9.1)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from .coordinates import encode_coordinates, parse_coordinates
from .errors import WireError, need

COORDINATES_REQUIRED = 0x20
PATH_BROKEN = 0x21
MTU_EXCEEDED = 0x22

_PREFIX = Struct("<BBH")
_UNENCRYPTED = 0x04
_ADDRESSES = Struct("<x16s16s")
_ADDRESSES_AND_MTU = Struct("<x16s16sH")
_MIN_PATH_BROKEN = 35


@dataclass(slots=True)
class CoordinatesRequired:
    """`reporter` could not route to `destination` for want of its coordinates."""

    TYPE: ClassVar[int] = COORDINATES_REQUIRED
    destination: bytes
    reporter: bytes

    @classmethod
    def parse(cls, body: bytes) -> CoordinatesRequired:
        """Read what follows the type byte; raise `WireError` below 33 bytes."""
        need(body, _ADDRESSES.size, "a CoordinatesRequired")
        return cls(*_ADDRESSES.unpack_from(body))

    def encode(self) -> bytes:
        """Return the whole session message, prefix included."""
        return _signal(COORDINATES_REQUIRED, _ADDRESSES.pack(self.destination, self.reporter))


@dataclass(slots=True)
class PathBroken:
    """`reporter` found no next hop to `destination`; `coordinates` are those it tried, or empty."""

    TYPE: ClassVar[int] = PATH_BROKEN
    destination: bytes
    reporter: bytes
    coordinates: list[bytes]

    @classmethod
    def parse(cls, body: bytes) -> PathBroken:
        """Read what follows the type byte; raise `WireError` below 35 bytes or for a cut coordinate list."""
        need(body, _MIN_PATH_BROKEN, "a PathBroken")
        destination, reporter = _ADDRESSES.unpack_from(body)
        coordinates, _end = parse_coordinates(body, _ADDRESSES.size, required=False)
        return cls(destination, reporter, coordinates)

    def encode(self) -> bytes:
        """Return the whole session message, prefix included."""
        addresses = _ADDRESSES.pack(self.destination, self.reporter)
        return _signal(PATH_BROKEN, addresses + encode_coordinates(self.coordinates))


@dataclass(slots=True)
class MtuExceeded:
    """A datagram to `destination` was larger than the `mtu` of the next link at `reporter`."""

    TYPE: ClassVar[int] = MTU_EXCEEDED
    destination: bytes
    reporter: bytes
    mtu: int

    @classmethod
    def parse(cls, body: bytes) -> MtuExceeded:
        """Read what follows the type byte; raise `WireError` below 35 bytes."""
        need(body, _ADDRESSES_AND_MTU.size, "an MtuExceeded")
        return cls(*_ADDRESSES_AND_MTU.unpack_from(body))

    def encode(self) -> bytes:
        """Return the whole session message, prefix included."""
        return _signal(MTU_EXCEEDED, _ADDRESSES_AND_MTU.pack(self.destination, self.reporter, self.mtu))


Signal = CoordinatesRequired | PathBroken | MtuExceeded


def parse_signal(body: bytes) -> Signal:
    """Read what follows the 4-byte prefix, type byte first; raise `WireError` for an unknown type or too few bytes."""
    need(body, 1, "a signal")
    match body[0]:
        case 0x20:
            return CoordinatesRequired.parse(body[1:])
        case 0x21:
            return PathBroken.parse(body[1:])
        case 0x22:
            return MtuExceeded.parse(body[1:])
    raise WireError(f"a signal of type {body[0]:#04x}")


def _signal(kind: int, rest: bytes) -> bytes:
    return _PREFIX.pack(0, _UNENCRYPTED, 1 + len(rest)) + bytes((kind,)) + rest
