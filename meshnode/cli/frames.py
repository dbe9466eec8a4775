"""Frames in words: one line that says what a captured frame is and, where it was opened, what is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshnode.identity import ipv6_text, mesh_ipv6
from meshnode.wire import WireError
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.datagram import SessionDatagram
from meshnode.wire.ipv6_shim import SHIM_PORT, decompress
from meshnode.wire.link import (
    FLAG_CE,
    FLAG_K,
    FLAG_SP,
    Disconnect,
    EstablishedHeader,
    EstablishedPlaintext,
    Msg1,
    Msg2,
    UnknownMessage,
)
from meshnode.wire.lookup import LookupRequest, LookupResponse
from meshnode.wire.messages import parse_link_message
from meshnode.wire.session import (
    DATA_PACKET,
    INNER,
    DataPacket,
    EncryptedMessage,
    InnerHeader,
    parse_session_message,
)
from meshnode.wire.tree import TreeAnnounce

_LINK_FLAGS = ((FLAG_K, "K"), (FLAG_CE, "CE"), (FLAG_SP, "SP"))
_INNER_TYPES = {
    0x10: "DataPacket",
    0x11: "SenderReport",
    0x12: "ReceiverReport",
    0x13: "PathMtuNotification",
    0x14: "CoordsWarmup",
}


def describe(frame: bytes, plaintext: bytes | None = None, inner: bytes | None = None) -> str:
    """Return one line about a frame; `plaintext` is what the link sealed, `inner` what the session in it sealed."""
    try:
        return " | ".join([_outside(frame), *_inside(plaintext, inner)])
    except WireError as error:
        return f"malformed: {error}"


def ipv6_packet(plaintext: bytes | None, inner: bytes | None) -> bytes | None:
    """Return the IPv6 packet that travels in an opened frame, None when there is none."""
    if plaintext is None or inner is None:
        return None
    try:
        datagram = parse_link_message(EstablishedPlaintext.parse(plaintext).message)
        if not isinstance(datagram, SessionDatagram) or InnerHeader.parse(inner).msg_type != DATA_PACKET:
            return None
        data = DataPacket.parse(inner[INNER.size :])
        if data.destination_port != SHIM_PORT:
            return None
        return decompress(data.payload, mesh_ipv6(datagram.source), mesh_ipv6(datagram.destination))
    except WireError:
        return None


def _outside(frame: bytes) -> str:
    phase = frame[0] if frame else None
    if phase == 1:
        return f"Handshake 1 from index {Msg1.parse(frame).sender_index:08x}"
    if phase == 2:
        answer = Msg2.parse(frame)
        return f"Handshake 2 from index {answer.sender_index:08x} to {answer.receiver_index:08x}"
    header = EstablishedHeader.parse(frame)
    flags = "".join(f" {name}" for bit, name in _LINK_FLAGS if header.flags & bit)
    return f"Frame to index {header.receiver_index:08x} counter {header.counter} of {len(frame)} bytes{flags}"


def _inside(plaintext: bytes | None, inner: bytes | None) -> list[str]:
    if plaintext is None:
        return []
    message = parse_link_message(EstablishedPlaintext.parse(plaintext).message)
    if isinstance(message, SessionDatagram):
        return [_datagram(message), *_session(message.payload, inner)]
    return [_WORDS.get(type(message), lambda other: type(other).__name__)(message)]


def _datagram(datagram: SessionDatagram) -> str:
    source, destination = (ipv6_text(mesh_ipv6(addr)) for addr in (datagram.source, datagram.destination))
    return f"SessionDatagram {source} -> {destination} ttl {datagram.ttl} path mtu {datagram.path_mtu}"


def _session(payload: bytes, inner: bytes | None) -> list[str]:
    message = parse_session_message(payload)
    if not isinstance(message, EncryptedMessage):
        return [type(message).__name__]
    sealed = f"Encrypted counter {message.header.counter}"
    if message.source_coordinates or message.destination_coordinates:
        sealed += " with coordinates"
    return [sealed, *([] if inner is None else [_inner(inner)])]


def _inner(inner: bytes) -> str:
    kind = InnerHeader.parse(inner).msg_type
    name = _INNER_TYPES.get(kind, f"type {kind:#04x}")
    if kind != DATA_PACKET:
        return name
    data = DataPacket.parse(inner[INNER.size :])
    return f"{name} port {data.source_port} -> {data.destination_port}, {len(data.payload)} bytes"


def _tree(message: TreeAnnounce) -> str:
    root, parent = message.ancestry[-1].node_addr, message.parent
    return f"TreeAnnounce root {_short(root)} parent {_short(parent)} depth {len(message.ancestry) - 1}"


def _short(node_addr: bytes) -> str:
    return node_addr.hex()[:8]


_WORDS: Mapping[type, Callable[[Any], str]] = {
    TreeAnnounce: _tree,
    FilterAnnounce: lambda message: f"FilterAnnounce sequence {message.sequence}",
    LookupRequest: lambda message: f"LookupRequest for {_short(message.target)} ttl {message.ttl}",
    LookupResponse: lambda message: f"LookupResponse about {_short(message.target)}",
    Disconnect: lambda message: f"Disconnect {message.reason.name.lower()}",
    UnknownMessage: lambda message: f"message of unknown type {message.type:#04x}",
}
