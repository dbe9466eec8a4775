"""Frames of a link, and the link messages that concern only the link itself (spec 01 section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar

from .errors import WireError, need

PHASE_ESTABLISHED = 0
PHASE_MSG1 = 1
PHASE_MSG2 = 2

FLAG_K = 0x01
FLAG_CE = 0x02
FLAG_SP = 0x04

SESSION_DATAGRAM = 0x00
SENDER_REPORT = 0x01
RECEIVER_REPORT = 0x02
TREE_ANNOUNCE = 0x10
FILTER_ANNOUNCE = 0x20
LOOKUP_REQUEST = 0x30
LOOKUP_RESPONSE = 0x31
DISCONNECT = 0x50
HEARTBEAT = 0x51

PREFIX = Struct("<BBH")
"""Version and phase, flags, payload length."""

ESTABLISHED = Struct("<BBHIQ")
"""Header of an established frame: the prefix, the receiver's index, the counter. Its 16 bytes are the AAD."""

INNER = Struct("<IB")
"""Start of the inner plaintext: the sender's timestamp in ms and the message type."""

ESTABLISHED_OVERHEAD = 32
"""Bytes of an established frame that are not inner plaintext: header and tag."""

MSG1_SIZE = 114
MSG2_SIZE = 69
_TIMESTAMP = Struct("<I")
_MSG1 = Struct("<BBHI106s")
_MSG2 = Struct("<BBHII57s")


@dataclass(slots=True)
class EstablishedHeader:
    """The cleartext header of an established frame; `payload_length` counts the inner plaintext only."""

    flags: int
    payload_length: int
    receiver_index: int
    counter: int

    @classmethod
    def parse(cls, frame: bytes) -> EstablishedHeader:
        """Read the header of a whole frame; raise `WireError` when it is too short or not established."""
        need(frame, ESTABLISHED_OVERHEAD, "an established frame")
        version_phase, flags, length, index, counter = ESTABLISHED.unpack_from(frame)
        if version_phase != PHASE_ESTABLISHED:
            raise WireError(f"version and phase are {version_phase:#04x}, not those of an established frame")
        return cls(flags, length, index, counter)

    def encode(self) -> bytes:
        """Return the 16 header bytes."""
        return ESTABLISHED.pack(PHASE_ESTABLISHED, self.flags, self.payload_length, self.receiver_index, self.counter)


@dataclass(slots=True)
class EstablishedPlaintext:
    """What an established frame holds: the sender's clock and a link message, type byte first."""

    timestamp: int
    message: bytes

    @classmethod
    def parse(cls, plaintext: bytes) -> EstablishedPlaintext:
        """Read an opened frame; raise `WireError` when it has no message type."""
        need(plaintext, INNER.size, "an inner plaintext")
        timestamp, _msg_type = INNER.unpack_from(plaintext)
        return cls(timestamp, plaintext[INNER.size - 1 :])

    def encode(self) -> bytes:
        """Return the plaintext to seal."""
        return _TIMESTAMP.pack(self.timestamp) + self.message


@dataclass(slots=True)
class Msg1:
    """The frame that opens a link handshake; the length field is not looked at, as in the reference."""

    sender_index: int
    noise: bytes

    @classmethod
    def parse(cls, frame: bytes) -> Msg1:
        """Read a whole frame; raise `WireError` for another length, version, phase or any flag."""
        _check_handshake(frame, PHASE_MSG1, MSG1_SIZE)
        return cls(*_MSG1.unpack(frame)[3:])

    def encode(self) -> bytes:
        """Return the whole frame of 114 bytes."""
        return _MSG1.pack(PHASE_MSG1, 0, MSG1_SIZE - PREFIX.size, self.sender_index, self.noise)


@dataclass(slots=True)
class Msg2:
    """The frame that answers a link handshake: the responder's index first, then the echo of the initiator's."""

    sender_index: int
    receiver_index: int
    noise: bytes

    @classmethod
    def parse(cls, frame: bytes) -> Msg2:
        """Read a whole frame; raise `WireError` for another length, version, phase or any flag."""
        _check_handshake(frame, PHASE_MSG2, MSG2_SIZE)
        return cls(*_MSG2.unpack(frame)[3:])

    def encode(self) -> bytes:
        """Return the whole frame of 69 bytes."""
        return _MSG2.pack(PHASE_MSG2, 0, MSG2_SIZE - PREFIX.size, self.sender_index, self.receiver_index, self.noise)


def payload_length_agrees(frame: bytes) -> bool:
    """Tell whether the length field fits the frame it came in (spec 01 section 5.1 step 3).

    True as well for frames the test does not apply to: too short, or of another phase.
    """
    if len(frame) < PREFIX.size:
        return True
    version_phase, _flags, length = PREFIX.unpack_from(frame)
    if version_phase == PHASE_ESTABLISHED:
        implied = len(frame) - ESTABLISHED_OVERHEAD
        return not 0 <= implied <= 0xFFFF or int(length) == implied
    expected = _HANDSHAKE_SIZES.get(version_phase)
    return expected is None or length == expected - PREFIX.size


def stream_frame_length(prefix: bytes, mtu: int) -> int:
    """Return how many bytes the frame takes in all that begins with these 4 bytes of a stream.

    Raises `WireError` when no frame begins so, or when the frame would exceed `mtu`: the stream has lost its framing
    and must be closed (spec 01 section 3.4).
    """
    need(prefix, PREFIX.size, "a frame prefix")
    version_phase, _flags, length = PREFIX.unpack_from(prefix)
    if version_phase == PHASE_ESTABLISHED:
        if length > mtu - ESTABLISHED_OVERHEAD:
            raise WireError(f"a frame of {length + ESTABLISHED_OVERHEAD} bytes on a link of MTU {mtu}")
        return ESTABLISHED_OVERHEAD + int(length)
    expected = _HANDSHAKE_SIZES.get(version_phase)
    if expected is None:
        raise WireError(f"no frame begins with {version_phase:#04x}")
    if length != expected - PREFIX.size:
        raise WireError(f"a handshake frame announces {length} bytes")
    return expected


class DisconnectReason(IntEnum):
    """Why a peer leaves; codes that are not listed count as OTHER."""

    SHUTDOWN = 0x00
    RESTART = 0x01
    PROTOCOL_ERROR = 0x02
    TRANSPORT_FAILURE = 0x03
    RESOURCE_EXHAUSTION = 0x04
    SECURITY_VIOLATION = 0x05
    CONFIGURATION_CHANGE = 0x06
    TIMEOUT = 0x07
    OTHER = 0xFF

    @classmethod
    def _missing_(cls, value: object) -> DisconnectReason:
        return cls.OTHER


@dataclass(slots=True)
class Disconnect:
    """The peer ends the link; there is no answer to it."""

    TYPE: ClassVar[int] = DISCONNECT
    reason: DisconnectReason

    @classmethod
    def parse(cls, body: bytes) -> Disconnect:
        """Read the body; raise `WireError` when it is empty."""
        need(body, 1, "a Disconnect")
        return cls(DisconnectReason(body[0]))

    def encode(self) -> bytes:
        """Return the message with its type byte."""
        return bytes((DISCONNECT, self.reason))


@dataclass(slots=True)
class Heartbeat:
    """Nothing but a sign of life."""

    TYPE: ClassVar[int] = HEARTBEAT

    @classmethod
    def parse(cls, body: bytes) -> Heartbeat:
        """Take any body; what is in it is ignored."""
        return cls()

    def encode(self) -> bytes:
        """Return the message: its type byte."""
        return bytes((HEARTBEAT,))


@dataclass(slots=True)
class UnknownMessage:
    """A link message of a type we do not know; to be ignored, though its frame counts as a sign of life."""

    type: int
    body: bytes

    def encode(self) -> bytes:
        """Return the message as it came."""
        return bytes((self.type,)) + self.body


_HANDSHAKE_SIZES = {PHASE_MSG1: MSG1_SIZE, PHASE_MSG2: MSG2_SIZE}


def _check_handshake(frame: bytes, phase: int, size: int) -> None:
    if len(frame) != size:
        raise WireError(f"a handshake frame of phase {phase} has {size} bytes, not {len(frame)}")
    if frame[0] != phase or frame[1]:
        raise WireError(f"a handshake frame starts with {phase:02x}00, not {frame[:2].hex()}")
