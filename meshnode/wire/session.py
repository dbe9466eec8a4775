"""Messages between the two ends of a session (spec 02 sections 3 to 5).

`encode` of the handshake messages and of `EncryptedMessage` gives the whole message; `parse` of the handshake messages
takes what follows the 4-byte prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from .coordinates import encode_coordinates, encode_required_coordinates, parse_coordinates
from .errors import WireError, need
from .signals import Signal, parse_signal

PHASE_ENCRYPTED = 0
PHASE_SETUP = 1
PHASE_ACK = 2
PHASE_MSG3 = 3

CP = 0x01
"""Cleartext coordinates follow the header."""
K = 0x02
"""Key epoch hint."""
U = 0x04
"""Not encrypted: an error signal."""

SPIN_BIT = 0x01
"""The one flag of the inner header."""

DATA_PACKET = 0x10
SESSION_SENDER_REPORT = 0x11
SESSION_RECEIVER_REPORT = 0x12
PATH_MTU_NOTIFICATION = 0x13
COORDS_WARMUP = 0x14

PREFIX = Struct("<BBH")
"""Version and phase, flags, payload length."""

ENCRYPTED = Struct("<BBHQ")
"""Header of an encrypted message: the prefix and the counter. Its 12 bytes are the AAD."""

INNER = Struct("<IBB")
"""Inner header: timestamp in ms, message type, inner flags."""

PORTS = Struct("<HH")
DATA_INNER = Struct("<IBBHH")
"""Inner header and ports of a DataPacket in one."""

MIN_ENCRYPTED = 28


@dataclass(slots=True)
class SessionSetup:
    """XK message 1 with the coordinates of both ends; the reserved flags byte is sent as 0 and not kept."""

    source_coordinates: list[bytes]
    destination_coordinates: list[bytes]
    handshake: bytes

    @classmethod
    def parse(cls, body: bytes) -> SessionSetup:
        """Read what follows the prefix; raise `WireError` when coordinates or handshake bytes are missing."""
        return cls(*_parse_with_coordinates(body))

    def encode(self) -> bytes:
        """Return the whole message."""
        return _handshake_message(PHASE_SETUP, _coordinate_pair(self) + _counted(self.handshake))


@dataclass(slots=True)
class SessionAck:
    """XK message 2: the responder's coordinates and a copy of the initiator's."""

    source_coordinates: list[bytes]
    destination_coordinates: list[bytes]
    handshake: bytes

    @classmethod
    def parse(cls, body: bytes) -> SessionAck:
        """Read what follows the prefix; raise `WireError` when coordinates or handshake bytes are missing."""
        return cls(*_parse_with_coordinates(body))

    def encode(self) -> bytes:
        """Return the whole message."""
        return _handshake_message(PHASE_ACK, _coordinate_pair(self) + _counted(self.handshake))


@dataclass(slots=True)
class SessionMessage3:
    """XK message 3."""

    handshake: bytes

    @classmethod
    def parse(cls, body: bytes) -> SessionMessage3:
        """Read what follows the prefix; raise `WireError` when handshake bytes are missing."""
        return cls(_parse_counted(body, 1))

    def encode(self) -> bytes:
        """Return the whole message."""
        return _handshake_message(PHASE_MSG3, _counted(self.handshake))


@dataclass(slots=True)
class EncryptedHeader:
    """The 12 cleartext bytes of an encrypted message; `payload_length` counts its plaintext."""

    flags: int
    payload_length: int
    counter: int

    @classmethod
    def parse(cls, message: bytes) -> EncryptedHeader:
        """Read the header of a whole message; raise `WireError` below 28 bytes, for another version or phase, or U."""
        need(message, MIN_ENCRYPTED, "an encrypted message")
        version_phase, flags, length, counter = ENCRYPTED.unpack_from(message)
        if version_phase != PHASE_ENCRYPTED or flags & U:
            raise WireError(f"an encrypted message starts with {message[:2].hex()}")
        return cls(flags, length, counter)

    def encode(self) -> bytes:
        """Return the 12 bytes, which are the associated data."""
        return ENCRYPTED.pack(PHASE_ENCRYPTED, self.flags, self.payload_length, self.counter)


@dataclass(slots=True)
class EncryptedMessage:
    """An encrypted message taken apart but not opened. Coordinates are empty when absent."""

    header: EncryptedHeader
    source_coordinates: list[bytes]
    destination_coordinates: list[bytes]
    ciphertext: bytes

    @classmethod
    def parse(cls, message: bytes) -> EncryptedMessage:
        """Read a whole message; raise `WireError` for a bad header or a cut coordinate list."""
        header = EncryptedHeader.parse(message)
        if not header.flags & CP:
            return cls(header, [], [], message[ENCRYPTED.size :])
        source, end = parse_coordinates(message, ENCRYPTED.size, required=False)
        destination, end = parse_coordinates(message, end, required=False)
        return cls(header, source, destination, message[end:])

    def encode(self) -> bytes:
        """Return the whole message."""
        coordinates = b""
        if self.header.flags & CP:
            coordinates = encode_coordinates(self.source_coordinates) + encode_coordinates(self.destination_coordinates)
        return self.header.encode() + coordinates + self.ciphertext


@dataclass(slots=True)
class InnerHeader:
    """The start of an encrypted message's plaintext."""

    timestamp: int
    msg_type: int
    flags: int

    @classmethod
    def parse(cls, plaintext: bytes) -> InnerHeader:
        """Read the first 6 bytes; raise `WireError` when there are fewer."""
        need(plaintext, INNER.size, "a session plaintext")
        return cls(*INNER.unpack_from(plaintext))

    def encode(self) -> bytes:
        """Return the 6 bytes."""
        return INNER.pack(self.timestamp, self.msg_type, self.flags)


@dataclass(slots=True)
class DataPacket:
    """A service payload between two ports: the body after the inner header."""

    source_port: int
    destination_port: int
    payload: bytes

    @classmethod
    def parse(cls, body: bytes) -> DataPacket:
        """Read the body; raise `WireError` below the 4 bytes of the ports."""
        need(body, PORTS.size, "a DataPacket")
        source_port, destination_port = PORTS.unpack_from(body)
        return cls(source_port, destination_port, body[PORTS.size :])

    def encode(self) -> bytes:
        """Return the body."""
        return PORTS.pack(self.source_port, self.destination_port) + self.payload


SessionMessage = SessionSetup | SessionAck | SessionMessage3 | EncryptedMessage | Signal


def parse_session_message(payload: bytes) -> SessionMessage:
    """Read the payload of a SessionDatagram; raise `WireError` for what is malformed or of an unknown phase.

    Only encrypted messages have their version looked at, and no length field is compared (spec 02 section 3.1).
    """
    need(payload, PREFIX.size, "a session message")
    match payload[0] & 0x0F:
        case 0:
            return parse_signal(payload[PREFIX.size :]) if payload[1] & U else EncryptedMessage.parse(payload)
        case 1:
            return SessionSetup.parse(payload[PREFIX.size :])
        case 2:
            return SessionAck.parse(payload[PREFIX.size :])
        case 3:
            return SessionMessage3.parse(payload[PREFIX.size :])
    raise WireError(f"a session message of phase {payload[0] & 0x0F}")


def _parse_with_coordinates(body: bytes) -> tuple[list[bytes], list[bytes], bytes]:
    source, end = parse_coordinates(body, 1, required=True)
    destination, end = parse_coordinates(body, end, required=True)
    return source, destination, _parse_counted(body, end)


def _parse_counted(body: bytes, offset: int) -> bytes:
    start = offset + 2
    need(body, start, "a session handshake")
    end = start + int.from_bytes(body[offset:start], "little")
    need(body, end, "a session handshake")
    return body[start:end]


def _coordinate_pair(message: SessionSetup | SessionAck) -> bytes:
    source = encode_required_coordinates(message.source_coordinates)
    return source + encode_required_coordinates(message.destination_coordinates)


def _counted(handshake: bytes) -> bytes:
    return len(handshake).to_bytes(2, "little") + handshake


def _handshake_message(phase: int, rest: bytes) -> bytes:
    return _PREFIX_AND_FLAGS.pack(phase, 0, (1 + len(rest)) & 0xFFFF, 0) + rest


_PREFIX_AND_FLAGS = Struct("<BBHB")
