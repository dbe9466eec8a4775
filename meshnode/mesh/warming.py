"""Learning coordinates from passing session traffic (spec 03 section 6.3, spec 02 section 2.4)."""

from __future__ import annotations

from enum import Enum, auto
from struct import Struct

from meshnode.mesh.coordinates import Coordinates
from meshnode.wire.coordinates import parse_coordinates
from meshnode.wire.errors import WireError

PREFIX_SIZE = 4
ENCRYPTED_HEADER_SIZE = 12
TAG_SIZE = 16
PHASE_ENCRYPTED, PHASE_SETUP, PHASE_ACK = 0, 1, 2
FLAG_COORDINATES, FLAG_UNENCRYPTED = 0x01, 0x04
_HANDSHAKE_LENGTH = Struct("<H")


class Verdict(Enum):
    """What to make of a payload besides its coordinates."""

    PLAIN = auto()  # carries none, or none that can be read
    CARRIES = auto()
    MALFORMED = auto()  # claims to carry some without being an encrypted message; goes on unharmed
    POISONOUS = auto()  # would end a v0.4.1 process further on; must not be forwarded


def examine(payload: bytes, offset: int) -> tuple[Verdict, Coordinates, Coordinates]:
    """Read the coordinates of source and destination in a session message; absent ones are empty lists."""
    size = len(payload) - offset
    if size < PREFIX_SIZE:
        return Verdict.PLAIN, [], []
    phase = payload[offset] & 0x0F
    if phase == PHASE_ENCRYPTED:
        return _examine_encrypted(payload, offset, size)
    if phase in (PHASE_SETUP, PHASE_ACK):
        return _examine_handshake(payload, offset)
    return Verdict.PLAIN, [], []


def _examine_encrypted(payload: bytes, offset: int, size: int) -> tuple[Verdict, Coordinates, Coordinates]:
    flags = payload[offset + 1]
    if not flags & FLAG_COORDINATES:
        return Verdict.PLAIN, [], []
    if size < ENCRYPTED_HEADER_SIZE:
        return Verdict.POISONOUS, [], []
    if payload[offset] or flags & FLAG_UNENCRYPTED or size < ENCRYPTED_HEADER_SIZE + TAG_SIZE:
        return Verdict.MALFORMED, [], []
    try:
        source, position = parse_coordinates(payload, offset + ENCRYPTED_HEADER_SIZE, False)
        destination, _ = parse_coordinates(payload, position, False)
    except WireError:
        return Verdict.PLAIN, [], []
    return Verdict.CARRIES, source, destination


def _examine_handshake(payload: bytes, offset: int) -> tuple[Verdict, Coordinates, Coordinates]:
    try:
        source, position = parse_coordinates(payload, offset + PREFIX_SIZE + 1, True)
        destination, position = parse_coordinates(payload, position, True)
    except WireError:
        return Verdict.PLAIN, [], []
    handshake = position + _HANDSHAKE_LENGTH.size
    if len(payload) < handshake or len(payload) < handshake + _HANDSHAKE_LENGTH.unpack_from(payload, position)[0]:
        return Verdict.PLAIN, [], []
    return Verdict.CARRIES, source, destination
