"""The scapy layers and our codecs judge each other: what one builds the other reads, recordings included."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.scapy import (
    FilterAnnounceLayer,
    Fmp,
    FmpFrame,
    FmpInner,
    FmpMsg1,
    FmpMsg2,
    Fsp,
    FspAck,
    FspCoordinates,
    FspData,
    FspEncrypted,
    FspInner,
    FspMsg3,
    FspSetup,
    FspSignal,
    Keys,
    LinkDisconnect,
    LinkReceiverReport,
    LinkSenderReport,
    LookupRequestLayer,
    LookupResponseLayer,
    SessionDatagramLayer,
    TreeAnnounceLayer,
)
from meshnode.wire import session as wire_session
from meshnode.wire.datagram import SessionDatagram
from meshnode.wire.link import EstablishedHeader, Msg1, Msg2
from meshnode.wire.lookup import LookupRequest, LookupResponse
from meshnode.wire.messages import parse_link_message
from meshnode.wire.signals import CoordinatesRequired, MtuExceeded, PathBroken
from tests.unit.vectors import load

SCENARIOS = load("live")["scenarios"]
EVENTS = [event for scenario in SCENARIOS for event in scenario["events"]]
FRAMES = [bytes.fromhex(event["frame"]) for event in EVENTS if event.get("layer") == "fmp" and "frame" in event]
MESSAGES = [bytes.fromhex(event["fsp"]) for event in EVENTS if event.get("layer") == "fsp" and "fsp" in event]

LAYERS: dict[str, Any] = {
    "SessionDatagram": SessionDatagramLayer,
    "SenderReport": LinkSenderReport,
    "ReceiverReport": LinkReceiverReport,
    "TreeAnnounce": TreeAnnounceLayer,
    "FilterAnnounce": FilterAnnounceLayer,
    "LookupRequest": LookupRequestLayer,
    "LookupResponse": LookupResponseLayer,
    "Disconnect": LinkDisconnect,
}
LINK = (0x00, 0x01, 0x02, 0x10, 0x20, 0x30, 0x31, 0x50, 0x51, 0x99)


def rebuilt(packet: Any) -> bytes:
    """Build a packet anew from the values of its fields, lengths and counts included."""
    packet = packet.copy()
    layer = packet
    while layer:
        layer.raw_packet_cache = None
        layer = layer.payload
    return bytes(packet)


# -- recordings of the reference daemon


def test_there_are_recordings() -> None:
    assert len(FRAMES) > 200
    assert len(MESSAGES) > 50


def test_every_recorded_frame_is_read_whole_and_built_again() -> None:
    for frame in FRAMES:
        packet = Fmp(frame)
        assert type(packet) is {0: FmpFrame, 1: FmpMsg1, 2: FmpMsg2}[frame[0] & 0x0F]
        assert rebuilt(packet) == frame


def test_every_recorded_session_message_is_read_whole_and_built_again() -> None:
    for message in MESSAGES:
        packet = Fsp(message)
        assert type(packet) is not Fsp
        assert rebuilt(packet) == message


def established(layer: str, name: str) -> list[dict[str, Any]]:
    return [event for event in EVENTS if event.get("layer") == layer and name in event and "key" in event]


def test_every_recorded_frame_opens_and_its_message_has_the_recorded_values() -> None:
    checked = set()
    for event in established("fmp", "frame"):
        frame = FmpFrame(bytes.fromhex(event["frame"]))
        inner = frame.opened(Keys(link={frame.receiver_index: bytes.fromhex(event["key"])}))
        assert isinstance(inner, FmpInner)
        assert frame.counter == event["counter"]
        if "plaintext" in event:
            assert rebuilt(inner).hex() == event["plaintext"]
        layer = LAYERS.get(event["what"])
        if layer is not None:
            assert layer in inner, event["what"]
            values = inner[layer].fields
            for name, value in event.get("decoded", {}).items():
                if isinstance(values.get(name), int):
                    assert values[name] == value, (event["what"], name)
            checked.add(event["what"])
    assert len(checked) >= 6


def test_every_recorded_session_message_opens() -> None:
    kinds = set()
    for event in established("fsp", "fsp"):
        message = FspEncrypted(bytes.fromhex(event["fsp"]))
        inner = message.opened(Keys(session=[bytes(32), bytes.fromhex(event["key"])]))
        assert isinstance(inner, FspInner), event["what"]
        if "plaintext" in event:
            assert rebuilt(inner).hex() == event["plaintext"]
        kinds.add(inner.type)
    assert 0x10 in kinds


def test_without_the_key_nothing_opens() -> None:
    frame = FmpFrame(next(data for data in FRAMES if data[0] == 0))
    assert frame.opened(Keys()) is None
    assert frame.opened(Keys(link={frame.receiver_index: bytes(32)})) is None


# -- what our codecs encode


ADDR = st.binary(min_size=16, max_size=16)
COORDINATES = st.lists(ADDR, min_size=1, max_size=5)
U16, U32, U64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@given(U32, U32, st.binary(min_size=106, max_size=106), st.binary(min_size=57, max_size=57))
def test_handshakes(sender: int, receiver: int, first: bytes, second: bytes) -> None:
    one, two = Fmp(Msg1(sender, first).encode()), Fmp(Msg2(sender, receiver, second).encode())
    assert (one.sender_index, one.noise, one.length) == (sender, first, 110)
    assert (two.sender_index, two.receiver_index, two.noise, two.length) == (sender, receiver, second, 65)
    assert bytes(FmpMsg1(sender_index=sender, noise=first)) == Msg1(sender, first).encode()
    assert bytes(FmpMsg2(sender_index=sender, receiver_index=receiver, noise=second)) == bytes(two)


@given(st.integers(0, 7), U32, U64, st.binary(min_size=21, max_size=200))
def test_frames(flags: int, index: int, counter: int, sealed: bytes) -> None:
    header = EstablishedHeader(flags, len(sealed) - 16, index, counter)
    built = FmpFrame(flags=flags, receiver_index=index, counter=counter) / sealed
    assert bytes(built) == header.encode() + sealed
    assert EstablishedHeader.parse(bytes(built)) == header


@given(st.integers(0, 255), U16, ADDR, ADDR, COORDINATES, COORDINATES, st.binary(max_size=80))
def test_a_setup_in_its_envelope(
    ttl: int, mtu: int, source: bytes, target: bytes, own: list[bytes], theirs: list[bytes], noise: bytes
) -> None:
    setup = wire_session.SessionSetup(own, theirs, noise)
    datagram = SessionDatagram(ttl, mtu, source, target, setup.encode())
    inner = FmpInner(bytes(4) + datagram.encode())
    envelope, message = inner[SessionDatagramLayer], inner[FspSetup]
    assert (envelope.ttl, envelope.path_mtu, envelope.source, envelope.destination) == (ttl, mtu, source, target)
    assert (message.source, message.destination, message.noise) == (own, theirs, noise)
    assert bytes(FspSetup(source=own, destination=theirs, noise=noise)) == setup.encode()


@given(COORDINATES, COORDINATES, st.binary(max_size=80))
def test_the_other_handshake_messages(own: list[bytes], theirs: list[bytes], noise: bytes) -> None:
    ack, third = wire_session.SessionAck(own, theirs, noise), wire_session.SessionMessage3(noise)
    assert bytes(FspAck(source=own, destination=theirs, noise=noise)) == ack.encode()
    assert bytes(FspMsg3(noise=noise)) == third.encode()
    assert Fsp(ack.encode()).destination == theirs
    assert Fsp(third.encode()).noise == noise


@given(U64, COORDINATES, COORDINATES, st.binary(min_size=22, max_size=80))
def test_a_sealed_message_with_coordinates(counter: int, own: list[bytes], theirs: list[bytes], sealed: bytes) -> None:
    header = wire_session.EncryptedHeader(wire_session.CP, len(sealed) - 16, counter)
    message = Fsp(wire_session.EncryptedMessage(header, own, theirs, sealed).encode())
    assert message.counter == counter
    assert (message[FspCoordinates].source, message[FspCoordinates].destination) == (own, theirs)
    assert bytes(message[FspCoordinates].payload) == sealed


@given(ADDR, ADDR, COORDINATES, U16)
def test_signals(destination: bytes, reporter: bytes, tried: list[bytes], mtu: int) -> None:
    common = {"destination": destination, "reporter": reporter}
    assert bytes(FspSignal(type=0x20, **common)) == CoordinatesRequired(destination, reporter).encode()
    assert bytes(FspSignal(type=0x21, tried=tried, **common)) == PathBroken(destination, reporter, tried).encode()
    assert bytes(FspSignal(type=0x22, mtu=mtu, **common)) == MtuExceeded(destination, reporter, mtu).encode()
    assert Fsp(MtuExceeded(destination, reporter, mtu).encode()).mtu == mtu


@given(U64, ADDR, ADDR, st.integers(0, 255), U16, COORDINATES, st.binary(min_size=64, max_size=64))
def test_lookups(
    number: int, target: bytes, origin: bytes, ttl: int, mtu: int, coordinates: list[bytes], proof: bytes
) -> None:
    request = LookupRequest(number, target, origin, ttl, mtu, coordinates)
    response = LookupResponse(number, target, mtu, coordinates, proof)
    asked = FmpInner(bytes(4) + request.encode())[LookupRequestLayer]
    told = FmpInner(bytes(4) + response.encode())[LookupResponseLayer]
    assert (asked.request_id, asked.target, asked.origin, asked.ttl) == (number, target, origin, ttl)
    assert asked.origin_coordinates == told.target_coordinates == coordinates
    assert (told.path_mtu, told.proof) == (mtu, proof)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_looked_at(noise: bytes) -> None:
    for packet in (
        Fmp(noise),
        FmpInner(bytes(5 + 35) + noise),
        *(FmpInner(bytes(4) + bytes([t]) + noise) for t in LINK),
    ):
        assert packet.show(dump=True)
        assert bytes(packet).endswith(noise)


def test_every_opened_message_of_the_recordings_reads_the_same_in_our_codec() -> None:
    for event in established("fmp", "frame"):
        if "plaintext" not in event:
            continue
        message = parse_link_message(bytes.fromhex(event["plaintext"])[4:])
        layer = FmpInner(bytes.fromhex(event["plaintext"])).payload
        for name in ("ttl", "path_mtu", "source", "destination", "request_id", "target", "sequence", "parent"):
            if hasattr(message, name) and name in layer.fields:
                assert layer.fields[name] == getattr(message, name), (event["what"], name)


def test_data_shows_its_ports() -> None:
    inner = FspInner(bytes(4) + b"\x10\x00" + wire_session.DataPacket(7, 256, b"payload").encode())
    assert (inner[FspData].source_port, inner[FspData].destination_port) == (7, 256)
    assert bytes(inner[FspData].payload) == b"payload"


def test_a_capture_file_is_read_frame_by_frame(tmp_path: Any) -> None:
    from scapy.layers.inet6 import IPv6
    from scapy.utils import rdpcap

    from meshnode.cli.pcapng import LINKTYPE_FRAMES, LINKTYPE_IPV6, CaptureFile

    packet = bytes(IPv6(src="fd01::1", dst="fd02::2"))
    with (tmp_path / "mesh.pcapng").open("wb") as file:
        capture = CaptureFile(file, "test", [("link frames", LINKTYPE_FRAMES), ("inside", LINKTYPE_IPV6)])
        capture.packet(0, 1_700_000_000_000_001, FRAMES[0], False, "a frame, über alles")
        capture.packet(1, 1_700_000_000_000_002, packet, True, "inside")
    first, second = rdpcap(str(tmp_path / "mesh.pcapng"))
    assert isinstance(first, FmpMsg1)
    assert bytes(first) == FRAMES[0]
    assert float(first.time) == pytest.approx(1_700_000_000.000001, abs=1e-6)
    assert first.comment.decode() == "a frame, über alles"
    assert isinstance(second, IPv6)
    assert second.dst == "fd02::2"
