"""Frames of a link and the messages in them (spec 01 and 03)."""

from __future__ import annotations

from typing import Any

from scapy.config import conf
from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    FieldLenField,
    FlagsField,
    LEIntField,
    LELongField,
    LEShortField,
    LESignedIntField,
    PacketListField,
    StrFixedLenField,
    XLEIntField,
    XLELongField,
    XStrFixedLenField,
)
from scapy.packet import Packet, Raw, bind_layers

from meshnode.scapy.fields import NodeAddrField, coordinates
from meshnode.scapy.keys import Keys
from meshnode.scapy.session import Fsp, FspEncrypted, FspInner

LINKTYPE = 147
"""`USER0` in capture files: a frame with nothing around it."""
_HEADER_SIZE = 16
_TAG_SIZE = 16
TYPES = {
    0x00: "SessionDatagram",
    0x01: "SenderReport",
    0x02: "ReceiverReport",
    0x10: "TreeAnnounce",
    0x20: "FilterAnnounce",
    0x30: "LookupRequest",
    0x31: "LookupResponse",
    0x50: "Disconnect",
    0x51: "Heartbeat",
}
REASONS = {
    0: "shutdown",
    1: "restart",
    2: "protocol error",
    3: "transport failure",
    4: "resource exhaustion",
    5: "security violation",
    6: "configuration change",
    7: "timeout",
    0xFF: "other",
}


def _prefix(phase: int) -> list[Any]:
    return [
        BitField("version", 0, 4),
        BitField("phase", phase, 4),
        FlagsField("flags", 0, 8, ["K", "CE", "SP", "3", "4", "5", "6", "7"]),
    ]


class Fmp(Packet):
    """Any frame: building one takes a subclass, dissecting one finds it by the phase."""

    name = "FMP"

    @classmethod
    def dispatch_hook(cls, data: bytes | None = None, *args: Any, **kwargs: Any) -> type[Packet]:
        if data is None:
            return cls
        layer, size = _PHASES.get(data[0] if data else -1, (Raw, 0))
        return layer if len(data) >= size else Raw


class FmpMsg1(Fmp):
    """IK message 1."""

    name = "FMP message 1"
    fields_desc = [*_prefix(1), LEShortField("length", 110), XLEIntField("sender_index", 0)]
    fields_desc += [XStrFixedLenField("noise", bytes(106), 106)]


class FmpMsg2(Fmp):
    """IK message 2."""

    name = "FMP message 2"
    fields_desc = [*_prefix(2), LEShortField("length", 65), XLEIntField("sender_index", 0)]
    fields_desc += [XLEIntField("receiver_index", 0), XStrFixedLenField("noise", bytes(57), 57)]


class FmpFrame(Fmp):
    """An established frame; the payload is ciphertext and tag, `length` counts the plaintext alone."""

    name = "FMP frame"
    fields_desc = [*_prefix(0), LEShortField("length", None), XLEIntField("receiver_index", 0)]
    fields_desc += [LELongField("counter", 0)]

    def post_build(self, packet: bytes, payload: bytes) -> bytes:
        if self.length is None:
            packet = packet[:2] + max(0, len(payload) - _TAG_SIZE).to_bytes(2, "little") + packet[4:]
        return packet + payload

    def opened(self, keys: Keys) -> FmpInner | None:
        """Return what was sealed, None without its key."""
        header = bytes(self)[:_HEADER_SIZE]
        plaintext = keys.open_link(self.receiver_index, self.counter, bytes(self.payload), header)
        return None if plaintext is None else FmpInner(plaintext)


_PHASES: dict[int, tuple[type[Packet], int]] = {0: (FmpFrame, _HEADER_SIZE), 1: (FmpMsg1, 114), 2: (FmpMsg2, 69)}
"""The layer and least size of a frame by its first byte."""


class FmpInner(Packet):
    """The plaintext of a frame."""

    name = "FMP inner"
    fields_desc = [LEIntField("timestamp", 0), ByteEnumField("type", 0x51, TYPES)]

    def opened(self, keys: Keys) -> FspInner | None:
        """Return what the session message in it sealed, None without one or without its key."""
        return self[FspEncrypted].opened(keys) if FspEncrypted in self else None


class SessionDatagramLayer(Packet):
    """The envelope of what goes end to end."""

    name = "SessionDatagram"
    fields_desc = [ByteField("ttl", 64), LEShortField("path_mtu", 65535)]
    fields_desc += [NodeAddrField("source"), NodeAddrField("destination")]


class LinkSenderReport(Packet):
    """What a sender put on the wire."""

    name = "SenderReport"
    fields_desc = [
        StrFixedLenField("reserved", bytes(3), 3),
        LELongField("interval_start_counter", 0),
        LELongField("interval_end_counter", 0),
        LEIntField("interval_start_timestamp", 0),
        LEIntField("interval_end_timestamp", 0),
        LEIntField("interval_bytes_sent", 0),
        LELongField("cumulative_packets_sent", 0),
        LELongField("cumulative_bytes_sent", 0),
    ]


class LinkReceiverReport(Packet):
    """What a receiver got."""

    name = "ReceiverReport"
    fields_desc = [
        StrFixedLenField("reserved", bytes(3), 3),
        LELongField("highest_counter", 0),
        LELongField("cumulative_packets_recv", 0),
        LELongField("cumulative_bytes_recv", 0),
        LEIntField("timestamp_echo", 0),
        LEShortField("dwell_time", 0),
        LEShortField("max_burst_loss", 0),
        LEShortField("mean_burst_loss", 0),
        StrFixedLenField("reserved2", bytes(2), 2),
        LEIntField("jitter", 0),
        LEIntField("ecn_ce_count", 0),
        LESignedIntField("owd_trend", 0),
        LEIntField("burst_loss_count", 0),
        LEIntField("cumulative_reorder_count", 0),
        LEIntField("interval_packets_recv", 0),
        LEIntField("interval_bytes_recv", 0),
    ]


class Ancestor(Packet):
    """One node on the way to the root."""

    name = "ancestor"
    fields_desc = [NodeAddrField("node_addr"), LELongField("sequence", 0), LELongField("timestamp", 0)]

    def extract_padding(self, data: bytes) -> tuple[bytes, bytes]:
        return b"", data


class TreeAnnounceLayer(Packet):
    """A node's signed choice of parent."""

    name = "TreeAnnounce"
    fields_desc = [
        ByteField("tree_version", 1),
        LELongField("sequence", 0),
        LELongField("timestamp", 0),
        NodeAddrField("parent"),
        FieldLenField("ancestry_count", None, count_of="ancestry", fmt="<H"),
        PacketListField("ancestry", [], Ancestor, count_from=lambda packet: packet.ancestry_count),
        XStrFixedLenField("signature", bytes(64), 64),
    ]


class FilterAnnounceLayer(Packet):
    """The nodes a neighbour reaches, as a Bloom filter."""

    name = "FilterAnnounce"
    fields_desc = [LELongField("sequence", 0), ByteField("hash_count", 5), ByteField("size_class", 1)]
    fields_desc += [XStrFixedLenField("bits", bytes(1024), 1024)]


class LookupRequestLayer(Packet):
    """A search for a node."""

    name = "LookupRequest"
    fields_desc = [
        XLELongField("request_id", 0),
        NodeAddrField("target"),
        NodeAddrField("origin"),
        ByteField("ttl", 0),
        LEShortField("min_mtu", 0),
        *coordinates("origin_coordinates"),
    ]


class LookupResponseLayer(Packet):
    """Where a node is, signed by it."""

    name = "LookupResponse"
    fields_desc = [
        XLELongField("request_id", 0),
        NodeAddrField("target"),
        LEShortField("path_mtu", 0),
        *coordinates("target_coordinates"),
        XStrFixedLenField("proof", bytes(64), 64),
    ]


class LinkDisconnect(Packet):
    """The peer leaves."""

    name = "Disconnect"
    fields_desc = [ByteEnumField("reason", 0, REASONS)]


class LinkHeartbeat(Packet):
    """A sign of life, sometimes padded."""

    name = "Heartbeat"


_MESSAGES: dict[int, type[Packet]] = {
    0x00: SessionDatagramLayer,
    0x01: LinkSenderReport,
    0x02: LinkReceiverReport,
    0x10: TreeAnnounceLayer,
    0x20: FilterAnnounceLayer,
    0x30: LookupRequestLayer,
    0x31: LookupResponseLayer,
    0x50: LinkDisconnect,
    0x51: LinkHeartbeat,
}

for _type, _layer in _MESSAGES.items():
    bind_layers(FmpInner, _layer, type=_type)
bind_layers(SessionDatagramLayer, Fsp)
conf.l2types.register(LINKTYPE, Fmp)
