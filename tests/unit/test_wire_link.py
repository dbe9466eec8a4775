"""Link frames, stream framing and the messages of the link itself (spec 01 section 3)."""

from __future__ import annotations

import pytest

from meshnode.wire import (
    Disconnect,
    DisconnectReason,
    EstablishedHeader,
    EstablishedPlaintext,
    Heartbeat,
    Msg1,
    Msg2,
    UnknownMessage,
    WireError,
    parse_link_message,
    payload_length_agrees,
    stream_frame_length,
)

from .vectors import unhex

MSG1 = Msg1(0x11223344, bytes(range(106)))
MSG2 = Msg2(0xAABBCCDD, 0x11223344, bytes(range(57)))


def test_handshake_frames_have_their_layout() -> None:
    assert MSG1.encode() == unhex("01006e00 44332211") + MSG1.noise
    assert MSG2.encode() == unhex("02004100 ddccbbaa 44332211") + MSG2.noise
    assert Msg1.parse(MSG1.encode()) == MSG1
    assert Msg2.parse(MSG2.encode()) == MSG2


@pytest.mark.parametrize(("at", "value"), [(0, 0x11), (0, 0x00), (0, 0x03), (1, 0x01), (1, 0x80)])
def test_handshake_frames_of_another_version_phase_or_with_flags_are_refused(at: int, value: int) -> None:
    for parse, message in ((Msg1.parse, MSG1.encode()), (Msg2.parse, MSG2.encode())):
        with pytest.raises(WireError):
            parse(message[:at] + bytes([value]) + message[at + 1 :])


def test_handshake_frames_of_another_length_are_refused() -> None:
    for parse, message in ((Msg1.parse, MSG1.encode()), (Msg2.parse, MSG2.encode())):
        for wrong in (b"", message[:-1], message + b"\x00"):
            with pytest.raises(WireError):
                parse(wrong)


def test_the_length_field_of_a_handshake_frame_is_judged_apart() -> None:
    frame = MSG1.encode()
    odd = frame[:2] + b"\x00\x00" + frame[4:]
    assert Msg1.parse(odd) == MSG1
    assert not payload_length_agrees(odd)
    assert payload_length_agrees(frame)
    assert payload_length_agrees(MSG2.encode())


@pytest.mark.parametrize(
    ("frame", "agrees"),
    [
        (unhex("00000500") + bytes(33), True),
        (unhex("00000500") + bytes(34), False),
        (unhex("00000400") + bytes(33), False),
        (unhex("00000000") + bytes(28), True),
        (unhex("0000ffff") + bytes(27), True),
        (unhex("00000000") + bytes(0x10000 + 28), True),
        (unhex("03000000") + bytes(9), True),
        (b"", True),
        (unhex("01006d00") + bytes(109), False),
    ],
    ids=["fits", "long", "short", "empty", "too short to tell", "too long to tell", "other phase", "nothing", "msg1"],
)
def test_a_length_field_must_fit_the_frame_it_came_in(frame: bytes, agrees: bool) -> None:
    assert payload_length_agrees(frame) is agrees


def test_an_established_header_keeps_reserved_flags_because_they_are_authenticated() -> None:
    frame = unhex("00f80500 ddccbbaa 0102030405060708") + bytes(21)
    header = EstablishedHeader.parse(frame)
    assert (header.flags, header.payload_length, header.receiver_index) == (0xF8, 5, 0xAABBCCDD)
    assert header.counter == 0x0807060504030201
    assert header.encode() == frame[:16]


@pytest.mark.parametrize("frame", [bytes(31), b"\x10" + bytes(40), b"\x01" + bytes(40), b""], ids=len)
def test_what_is_no_established_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(WireError):
        EstablishedHeader.parse(frame)


def test_an_inner_plaintext_is_a_clock_and_a_message() -> None:
    inner = EstablishedPlaintext.parse(unhex("d2040000 51"))
    assert inner == EstablishedPlaintext(1234, b"\x51")
    assert inner.encode() == unhex("d204000051")
    with pytest.raises(WireError):
        EstablishedPlaintext.parse(bytes(4))


@pytest.mark.parametrize(
    ("prefix", "length"),
    [("00000000", 32), ("00ff0500", 37), ("0000d004", 1264), ("01006e00", 114), ("02004100", 69), ("01ff6e00", 114)],
)
def test_a_stream_frame_is_as_long_as_its_prefix_says(prefix: str, length: int) -> None:
    assert stream_frame_length(unhex(prefix), 1264) == length
    assert stream_frame_length(unhex(prefix) + b"more", 1264) == length


@pytest.mark.parametrize(
    "prefix",
    [
        "0000d104",
        "0000ffff",
        "01006d00",
        "01006f00",
        "02006e00",
        "03000000",
        "0f000000",
        "10000500",
        "11006e00",
        "000000",
    ],
)
def test_a_stream_that_lost_its_framing_is_noticed(prefix: str) -> None:
    with pytest.raises(WireError):
        stream_frame_length(unhex(prefix), 1264)


@pytest.mark.parametrize("mtu", [0, 31, 32, 33])
def test_a_tiny_mtu_never_admits_more_than_itself(mtu: int) -> None:
    if mtu < 32:
        with pytest.raises(WireError):
            stream_frame_length(unhex("00000000"), mtu)
    else:
        assert stream_frame_length(unhex("00000000"), mtu) <= mtu
        with pytest.raises(WireError):
            stream_frame_length(bytes([0, 0, mtu - 31, 0]), mtu)


@pytest.mark.parametrize("reason", list(DisconnectReason), ids=lambda reason: reason.name)
def test_disconnect_carries_its_reason(reason: DisconnectReason) -> None:
    message = Disconnect(reason)
    assert message.encode() == bytes([0x50, reason])
    assert parse_link_message(message.encode() + b"extra") == message


@pytest.mark.parametrize("code", [0x08, 0x42, 0xFE])
def test_an_unlisted_reason_counts_as_other(code: int) -> None:
    assert Disconnect.parse(bytes([code])).reason is DisconnectReason.OTHER


def test_a_disconnect_without_reason_is_malformed() -> None:
    with pytest.raises(WireError):
        parse_link_message(b"\x50")


def test_a_heartbeat_ignores_its_body() -> None:
    assert parse_link_message(b"\x51") == parse_link_message(b"\x51junk") == Heartbeat()
    assert Heartbeat().encode() == b"\x51"


def test_a_message_of_unknown_type_is_kept_as_it_came() -> None:
    message = parse_link_message(b"\x7fbody")
    assert message == UnknownMessage(0x7F, b"body")
    assert message.encode() == b"\x7fbody"


def test_an_empty_link_message_is_malformed() -> None:
    with pytest.raises(WireError):
        parse_link_message(b"")
