"""What raw Ethernet carries: link frames, each behind its length, and beacons (spec 04 section 5.2).

A payload says how long the frame in it is, because the medium pads short payloads to 46 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from .errors import WireError

DATA = 0x00
BEACON = 0x01
DATA_OVERHEAD = 3
LARGEST_FRAME = 0xFFFF - DATA_OVERHEAD
"""Bytes of the longest frame whose payload an interface of the largest MTU takes."""

_DATA = Struct("<BH")
_KEY_SIZE = 32


@dataclass(slots=True, frozen=True)
class Beacon:
    """A node's claim to be at the address it came from: its x-only public key, unsigned and not checked here."""

    LAYOUT: ClassVar[Struct] = Struct(f"<BB{_KEY_SIZE}s")
    SIZE: ClassVar[int] = LAYOUT.size
    VERSION: ClassVar[int] = 1

    public_key: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Beacon:
        """Read a beacon and ignore the padding behind it; raise `WireError` for anything else."""
        if len(payload) < cls.SIZE:
            raise WireError(f"a beacon has {cls.SIZE} bytes, not {len(payload)}")
        kind, version, public_key = cls.LAYOUT.unpack_from(payload)
        if kind != BEACON or version != cls.VERSION:
            raise WireError(f"kind {kind:#04x} and version {version} are not those of a beacon")
        return cls(public_key)

    def encode(self) -> bytes:
        return self.LAYOUT.pack(BEACON, self.VERSION, self.public_key)


def enclose(frames: list[bytes]) -> bytes:
    """Return the payloads of `frames`, none of them longer than `LARGEST_FRAME`, end to end.

    Each payload is `DATA_OVERHEAD` bytes longer than its frame.
    """
    size = len(frames[0])
    if list(map(len, frames)).count(size) == len(frames):  # as a rule; then the work is done in C
        return _DATA.pack(DATA, size).join((b"", *frames))
    pack = _DATA.pack
    return b"".join(part for frame in frames for part in (pack(DATA, len(frame)), frame))


def enclosed(heads: bytes, bodies: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the frames and the beacons in payloads, at least one, that were split after `DATA_OVERHEAD` bytes.

    `heads` holds the first parts end to end. Padding behind frames is removed; a payload that is shorter than it says
    it is gives nothing.
    """
    count = len(bodies)
    kind, size = _DATA.unpack_from(heads)
    are_alike = heads == heads[:DATA_OVERHEAD] * count and list(map(len, bodies)).count(size) == count
    if are_alike and kind == DATA and size:  # as a rule; then there is nothing to do
        return bodies, []
    frames, beacons = [], []
    for number, ((kind, size), body) in enumerate(zip(_DATA.iter_unpack(heads), bodies, strict=True)):
        if kind == BEACON:
            beacons.append(heads[number * DATA_OVERHEAD : (number + 1) * DATA_OVERHEAD] + body)
        elif 0 < size <= len(body):
            frames.append(body[:size])
    return frames, beacons
