"""Session messages: what a datagram carries end to end (spec 02)."""

from __future__ import annotations

from typing import Any

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    FlagsField,
    LEIntField,
    LELongField,
    LEShortField,
    XStrLenField,
)
from scapy.packet import Packet, Raw, bind_layers

from meshnode.scapy.fields import NodeAddrField, coordinates
from meshnode.scapy.keys import Keys

_FLAGS = ["CP", "K", "U", "3", "4", "5", "6", "7"]
_CP, _U = 1, 4
_PREFIX_SIZE = 4
_HEADER_SIZE = 12
SIGNALS = {0x20: "CoordinatesRequired", 0x21: "PathBroken", 0x22: "MtuExceeded"}
INNER_TYPES = {0x10: "data", 0x11: "sender report", 0x12: "receiver report", 0x13: "path mtu", 0x14: "coords warmup"}


def _prefix(phase: int, flags: int = 0) -> list[Any]:
    return [
        BitField("version", 0, 4),
        BitField("phase", phase, 4),
        FlagsField("flags", flags, 8, _FLAGS),
        LEShortField("length", None),
    ]


class Fsp(Packet):
    """Any session message: building one takes a subclass, dissecting one finds it by its first two bytes."""

    name = "FSP"
    length_without = _PREFIX_SIZE
    """Bytes of the message that its length field does not count."""

    @classmethod
    def dispatch_hook(cls, data: bytes | None = None, *args: Any, **kwargs: Any) -> type[Packet]:
        if data is None:
            return cls
        if len(data) < _PREFIX_SIZE:
            return Raw
        if data[0] & 0x0F == 0:
            return FspSignal if data[1] & _U else FspEncrypted
        return {1: FspSetup, 2: FspAck, 3: FspMsg3}.get(data[0] & 0x0F, Raw)

    def post_build(self, packet: bytes, payload: bytes) -> bytes:
        whole = packet + payload
        if self.fields.get("length") is None and len(whole) >= _PREFIX_SIZE:
            size = (len(whole) - self.length_without) & 0xFFFF
            whole = whole[:2] + size.to_bytes(2, "little") + whole[4:]
        return whole


def _handshake() -> list[Any]:
    return [
        FieldLenField("noise_length", None, length_of="noise", fmt="<H"),
        XStrLenField("noise", b"", length_from=lambda packet: packet.noise_length),
    ]


class FspSetup(Fsp):
    """XK message 1."""

    name = "FSP setup"
    fields_desc = [*_prefix(1), ByteField("reserved", 0), *coordinates("source"), *coordinates("destination")]
    fields_desc += _handshake()


class FspAck(Fsp):
    """XK message 2."""

    name = "FSP ack"
    fields_desc = [*_prefix(2), ByteField("reserved", 0), *coordinates("source"), *coordinates("destination")]
    fields_desc += _handshake()


class FspMsg3(Fsp):
    """XK message 3."""

    name = "FSP message 3"
    fields_desc = [*_prefix(3), ByteField("reserved", 0), *_handshake()]


class FspSignal(Fsp):
    """An error that a node on the way reports, in the clear."""

    name = "FSP signal"
    fields_desc = [
        *_prefix(0, _U),
        ByteEnumField("type", 0x20, SIGNALS),
        ByteField("reserved", 0),
        NodeAddrField("destination"),
        NodeAddrField("reporter"),
        *[ConditionalField(part, lambda packet: packet.type == 0x21) for part in coordinates("tried")],
        ConditionalField(LEShortField("mtu", 0), lambda packet: packet.type == 0x22),
    ]


class FspCoordinates(Packet):
    """Coordinates in the clear, between header and ciphertext."""

    name = "FSP coordinates"
    fields_desc = [*coordinates("source"), *coordinates("destination")]

    def extract_padding(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class FspEncrypted(Fsp):
    """A sealed message; the payload is ciphertext and tag, behind coordinates with the flag CP."""

    name = "FSP encrypted"
    length_without = _HEADER_SIZE + 16
    fields_desc = [*_prefix(0), LELongField("counter", 0)]

    def guess_payload_class(self, payload: bytes) -> Any:
        return FspCoordinates if self.flags & _CP else super().guess_payload_class(payload)

    def opened(self, keys: Keys) -> FspInner | None:
        """Return what was sealed, None without its key."""
        data = bytes(self)
        sealed = self[FspCoordinates].payload if FspCoordinates in self else self.payload
        plaintext = keys.open_session(self.counter, bytes(sealed), data[:_HEADER_SIZE])
        return None if plaintext is None else FspInner(plaintext)


class FspInner(Packet):
    """The plaintext of a session message."""

    name = "FSP inner"
    fields_desc = [
        LEIntField("timestamp", 0),
        ByteEnumField("type", 0x10, INNER_TYPES),
        FlagsField("flags", 0, 8, ["SP", "1", "2", "3", "4", "5", "6", "7"]),
    ]


class FspData(Packet):
    """Data of a service, between two ports."""

    name = "FSP data"
    fields_desc = [LEShortField("source_port", 0), LEShortField("destination_port", 256)]


bind_layers(FspInner, FspData, type=0x10)
