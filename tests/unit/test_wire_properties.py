"""Codecs under arbitrary input: bytes parse or raise WireError, and what parses survives another round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.wire import (
    AncestryEntry,
    CoordinatesRequired,
    DataPacket,
    Disconnect,
    DisconnectReason,
    EncryptedHeader,
    EncryptedMessage,
    EstablishedHeader,
    EstablishedPlaintext,
    FilterAnnounce,
    Heartbeat,
    InnerHeader,
    LookupRequest,
    LookupResponse,
    Msg1,
    Msg2,
    MtuExceeded,
    PathBroken,
    PathMtuNotification,
    ReceiverReport,
    SenderReport,
    SessionAck,
    SessionDatagram,
    SessionMessage3,
    SessionSetup,
    TreeAnnounce,
    UnknownMessage,
    WireError,
    parse_link_message,
    parse_session_message,
    parse_signal,
    payload_length_agrees,
    stream_frame_length,
)
from meshnode.wire.session import CP

u8, u16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
i32 = st.integers(-(2**31), 2**31 - 1)
addresses = st.binary(min_size=16, max_size=16)
signatures = st.binary(min_size=64, max_size=64)
payloads = st.binary(max_size=100)
some_coordinates = st.lists(addresses, min_size=1, max_size=6)
any_coordinates = st.lists(addresses, max_size=6)
entries = st.lists(st.builds(AncestryEntry, addresses, u64, u64), min_size=1, max_size=6)
known_types = {0x00, 0x01, 0x02, 0x10, 0x20, 0x30, 0x31, 0x50, 0x51}

link_messages = st.one_of(
    st.builds(SessionDatagram, u8, u16, addresses, addresses, payloads),
    st.builds(SenderReport, u64, u64, u32, u32, u32, u64, u64),
    st.builds(ReceiverReport, u64, u64, u64, u32, u16, u16, u16, u32, u32, i32, u32, u32, u32, u32),
    st.builds(TreeAnnounce, u64, u64, addresses, entries, signatures),
    st.builds(FilterAnnounce, u64, st.integers(1, 255), st.just(1), st.binary(min_size=1024, max_size=1024)),
    st.builds(LookupRequest, u64, addresses, addresses, u8, u16, some_coordinates),
    st.builds(LookupResponse, u64, addresses, u16, some_coordinates, signatures),
    st.builds(Disconnect, st.sampled_from(DisconnectReason)),
    st.just(Heartbeat()),
    st.builds(UnknownMessage, u8.filter(lambda kind: kind not in known_types), payloads),
)

sealed = st.binary(min_size=16, max_size=100)
signals = st.one_of(
    st.builds(CoordinatesRequired, addresses, addresses),
    st.builds(PathBroken, addresses, addresses, any_coordinates),
    st.builds(MtuExceeded, addresses, addresses, u16),
)
session_messages = st.one_of(
    st.builds(SessionSetup, some_coordinates, some_coordinates, payloads),
    st.builds(SessionAck, some_coordinates, some_coordinates, payloads),
    st.builds(SessionMessage3, payloads),
    st.builds(
        EncryptedMessage,
        st.builds(EncryptedHeader, u8.map(lambda flags: flags & ~0x05), u16, u64),
        st.just([]),
        st.just([]),
        sealed,
    ),
    st.builds(
        EncryptedMessage,
        st.builds(EncryptedHeader, u8.map(lambda flags: flags & ~0x04 | CP), u16, u64),
        any_coordinates,
        any_coordinates,
        sealed,
    ),
    signals,
)


def starting_with(*starts: bytes) -> st.SearchStrategy[bytes]:
    """Random bytes behind a head that leads a decoder past its first checks."""
    return st.one_of(
        st.binary(max_size=1200), st.builds(bytes.__add__, st.sampled_from(starts), st.binary(max_size=200))
    )


link_noise = starting_with(*(bytes([kind]) for kind in known_types), b"\x10\x01", b"\x20" + bytes(8) + b"\x05\x01")
session_noise = starting_with(
    *(bytes([phase, flags]) for phase in range(5) for flags in (0, 1, 4)),
    b"\x01" + bytes(4) + b"\x01\x00",
    b"\x00\x04\x00\x00\x21",
    b"\x00\x01" + bytes(10) + b"\x01\x00",
)


@given(link_noise)
def test_any_bytes_are_a_link_message_or_a_wire_error(noise: bytes) -> None:
    try:
        message = parse_link_message(noise)
    except WireError:
        return
    assert parse_link_message(message.encode()) == message


@given(session_noise)
def test_any_bytes_are_a_session_message_or_a_wire_error(noise: bytes) -> None:
    try:
        message = parse_session_message(noise)
    except WireError:
        return
    assert parse_session_message(message.encode()) == message


@given(link_messages)
def test_every_link_message_survives_the_wire_and_trailing_bytes(message: Any) -> None:
    wire = message.encode()
    assert parse_link_message(wire) == message
    if isinstance(message, SessionDatagram | UnknownMessage):  # what trails is payload
        return
    if isinstance(message, FilterAnnounce):
        with pytest.raises(WireError):
            parse_link_message(wire + b"\x00")
    else:
        assert parse_link_message(wire + b"trailing") == message


@given(link_messages, st.data())
def test_a_cut_link_message_never_passes_for_the_whole(message: Any, data: st.DataObject) -> None:
    wire = message.encode()
    cut = wire[: data.draw(st.integers(0, len(wire) - 1))]
    try:
        assert parse_link_message(cut) != message
    except WireError:
        assert not isinstance(message, UnknownMessage | Heartbeat) or not cut


@given(session_messages)
def test_every_session_message_survives_the_wire(message: Any) -> None:
    wire = message.encode()
    assert parse_session_message(wire) == message
    if not isinstance(message, EncryptedMessage):  # there, what trails is ciphertext
        assert parse_session_message(wire + b"trailing") == message
        assert int.from_bytes(wire[2:4], "little") == len(wire) - 4


@given(session_messages, st.data())
def test_a_cut_session_message_never_passes_for_the_whole(message: Any, data: st.DataObject) -> None:
    wire = message.encode()
    cut = wire[: data.draw(st.integers(0, len(wire) - 1))]
    try:
        assert parse_session_message(cut) != message
    except WireError:
        pass


OTHER_CODECS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    "msg1": (Msg1.parse, Msg1.encode),
    "msg2": (Msg2.parse, Msg2.encode),
    "established plaintext": (EstablishedPlaintext.parse, EstablishedPlaintext.encode),
    "inner header": (InnerHeader.parse, InnerHeader.encode),
    "data packet": (DataPacket.parse, DataPacket.encode),
    "sender report": (SenderReport.parse_session, SenderReport.encode_session),
    "receiver report": (ReceiverReport.parse_session, ReceiverReport.encode_session),
    "path MTU": (PathMtuNotification.parse_session, PathMtuNotification.encode_session),
}


@pytest.mark.parametrize(("parse", "encode"), OTHER_CODECS.values(), ids=OTHER_CODECS)
@given(
    noise=st.one_of(st.binary(max_size=120), st.binary(min_size=69, max_size=69), st.binary(min_size=114, max_size=114))
)
def test_any_bytes_pass_the_smaller_codecs_or_raise_wire_error(
    parse: Callable[[bytes], Any], encode: Callable[[Any], bytes], noise: bytes
) -> None:
    try:
        message = parse(noise)
    except WireError:
        return
    assert parse(encode(message)) == message


@given(st.binary(max_size=60))
def test_headers_and_signals_parse_or_raise_wire_error(noise: bytes) -> None:
    for parse in (EstablishedHeader.parse, EncryptedHeader.parse):
        try:
            header = parse(noise)
        except WireError:
            continue
        assert noise.startswith(header.encode())
    try:
        signal = parse_signal(noise)
    except WireError:
        return
    assert parse_signal(signal.encode()[4:]) == signal


@given(st.binary(max_size=200), st.integers(0, 70000))
def test_stream_framing_never_exceeds_the_mtu_or_the_handshake_sizes(noise: bytes, mtu: int) -> None:
    payload_length_agrees(noise)
    try:
        length = stream_frame_length(noise, mtu)
    except WireError:
        return
    assert 32 <= length <= max(mtu, 114)


@given(u32, u32, st.binary(min_size=106, max_size=106))
def test_handshake_frames_survive_the_wire(sender: int, receiver: int, noise: bytes) -> None:
    for message in (Msg1(sender, noise), Msg2(sender, receiver, noise[:57])):
        assert type(message).parse(message.encode()) == message
        assert payload_length_agrees(message.encode())
        assert stream_frame_length(message.encode(), 64) == len(message.encode())
