"""Session messages and error signals against the printed rows (spec 02 sections 3, 4, 5, 9 and 21)."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.noise import NONCE, aead
from meshnode.wire import (
    CoordinatesRequired,
    DataPacket,
    EncryptedHeader,
    EncryptedMessage,
    InnerHeader,
    MtuExceeded,
    PathBroken,
    PathMtuNotification,
    SessionAck,
    SessionDatagram,
    SessionMessage3,
    SessionSetup,
    WireError,
    encode_coordinates,
    parse_coordinates,
    parse_session_message,
    parse_signal,
)
from meshnode.wire.ipv6_shim import SHIM_PORT, compress
from meshnode.wire.session import COORDS_WARMUP, CP, DATA_INNER, DATA_PACKET, PATH_MTU_NOTIFICATION, K

from .vectors import address, load, unhex

SIGNALS = load("mesh")["signals_and_datagrams"]

A = unhex("69e08d65cc3a6b9c2c2ac4bd405e4b0e")
B = unhex("ec3925bdbd24aa1cfd002f9ccf52f2bc")
REPORTER = b"\x22" * 16
A_COORDINATES = [A, b"\x11" * 16, bytes(16)]
B_COORDINATES = [B, bytes(16)]
A_TO_B = unhex("64b5c219367be043349bcf30063700c371c08374db3691856d1f83d73657af6d")
B_TO_A = unhex("f8344dec00ac2bd508835018bd08da8ecd7d29e6a96a8cd8a2a60e64e0e3e886")
MSG1 = unhex("028d7500dd4c12685d1f568b4c2b5048e8534b873319f3a8daa612b469132ec7f7")
MSG2 = unhex(
    "0324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c58d3ae85f53d36c515a984c911e5919305fe16ffcab528be"
)
MSG3 = unhex(
    "58746ffff52cad339c47e98763f4a5a395bc3ab1f3d8c621e4560b546a2d60a258dfbbf56c7c35f8094f34f901768ed84c"
    "b83b98a2d69f625353736370f31e942a3758bdece010d830"
)
A_LIST = "0300 69e08d65cc3a6b9c2c2ac4bd405e4b0e 11111111111111111111111111111111 00000000000000000000000000000000"
B_LIST = "0200 ec3925bdbd24aa1cfd002f9ccf52f2bc 00000000000000000000000000000000"
SETUP = unhex(f"0100780000 {A_LIST} {B_LIST} 2100") + MSG1
ACK = unhex(f"0200900000 {B_LIST} {A_LIST} 3900") + MSG2
PACKET = unhex(
    "602abcde00121140fd69e08d65cc3a6b9c2c2ac4bd405e4bfdec3925bdbd24aa1cfd002f9ccf52f2"
    "9c4013880012ae1e68656c6c6f2066697073"
)
INNER = unhex("d20400001000 0001 0001 00602abcde11409c4013880012ae1e68656c6c6f2066697073")
FRAME = unhex(
    "000023000100000000000000"
    "d1b0feb4bb580014863841046b7d1c72691d4e0a78eb8ad5b3afd8268aabba3944130000abcad2f6d9cff5860a1567157442b1"
)
FRAME_WITH_COORDINATES = unhex(
    f"000123000000000000000000 {A_LIST} {B_LIST}"
    "4423d4fc86c32da36dbf2eaff01cd77b038748d17c1bc5aabd412becc4c681806abb0d64088b628fcbac24a29ada1ceae1d5d0"
)
WARMUP = unhex(f"000106000200000000000000 {A_LIST} {B_LIST} 1e353acb246f2e1156554aac98304033f1188dd81bb4")
NOTIFICATION = unhex("000008000000000000000000 f372751be96f9e94b5e31e6069bdc0242ebb579a76e579be")


def sealed(key: bytes, header: EncryptedHeader, plaintext: bytes) -> bytes:
    """The ciphertext of a message with this header."""
    return aead(key).encrypt(NONCE.pack(header.counter), plaintext, header.encode())


HANDSHAKES = [
    (SessionSetup(A_COORDINATES, B_COORDINATES, MSG1), SETUP),
    (SessionAck(B_COORDINATES, A_COORDINATES, MSG2), ACK),
    (SessionMessage3(MSG3), unhex("03004c0000 4900") + MSG3),
]


@pytest.mark.parametrize(("message", "wire"), HANDSHAKES, ids=["setup", "ack", "msg3"])
def test_handshake_messages_have_the_printed_bytes(message: Any, wire: bytes) -> None:
    assert message.encode() == wire
    assert parse_session_message(wire) == message
    assert parse_session_message(wire + b"trailing") == message


@pytest.mark.parametrize(("message", "wire"), HANDSHAKES, ids=["setup", "ack", "msg3"])
def test_a_handshake_message_cut_anywhere_is_malformed(message: Any, wire: bytes) -> None:
    for length in range(len(wire)):
        with pytest.raises(WireError):
            parse_session_message(wire[:length])


@pytest.mark.parametrize(("message", "wire"), HANDSHAKES, ids=["setup", "ack", "msg3"])
def test_version_flags_and_length_of_handshake_messages_are_not_looked_at(message: Any, wire: bytes) -> None:
    odd = bytes([wire[0] | 0x70, 0xFF, 0xFF, 0xFF, 0xFF]) + wire[5:]
    assert parse_session_message(odd) == message


def test_sizes_of_handshake_messages_follow_their_coordinates() -> None:
    assert (len(SETUP), len(ACK), len(HANDSHAKES[2][1])) == (44 + 16 * 5, 68 + 16 * 5, 80)


def test_a_handshake_never_goes_without_coordinates() -> None:
    pairs: list[tuple[list[bytes], list[bytes]]] = [([], B_COORDINATES), (A_COORDINATES, [])]
    for source, destination in pairs:
        for message in (SessionSetup(source, destination, MSG1), SessionAck(source, destination, MSG2)):
            with pytest.raises(WireError):
                message.encode()
    absent = unhex(f"0100560000 0000 {B_LIST} 2100") + MSG1
    with pytest.raises(WireError, match="empty"):
        parse_session_message(absent)


def test_the_printed_datagram_header_comes_out() -> None:
    datagram = SessionDatagram(64, 1280, A, B, SETUP)
    assert datagram.encode() == unhex("00 40 0005") + A + B + SETUP
    assert SessionDatagram.parse(datagram.encode()[1:]) == datagram


def test_a_data_packet_seals_to_the_printed_frame() -> None:
    packet = DataPacket(SHIM_PORT, SHIM_PORT, compress(PACKET))
    plaintext = InnerHeader(1234, DATA_PACKET, 0).encode() + packet.encode()
    assert plaintext == INNER == DATA_INNER.pack(1234, DATA_PACKET, 0, SHIM_PORT, SHIM_PORT) + packet.payload
    header = EncryptedHeader(0, len(plaintext), 1)
    assert EncryptedMessage(header, [], [], sealed(A_TO_B, header, plaintext)).encode() == FRAME
    assert DataPacket.parse(plaintext[6:]) == packet
    assert InnerHeader.parse(plaintext) == InnerHeader(1234, DATA_PACKET, 0)


def test_coordinates_travel_in_the_clear_between_header_and_ciphertext() -> None:
    header = EncryptedHeader(CP, len(INNER), 0)
    message = EncryptedMessage(header, A_COORDINATES, B_COORDINATES, sealed(A_TO_B, header, INNER))
    assert message.encode() == FRAME_WITH_COORDINATES
    assert parse_session_message(FRAME_WITH_COORDINATES) == message


def test_a_warmup_seals_to_the_printed_frame() -> None:
    header = EncryptedHeader(CP, 6, 2)
    ciphertext = sealed(A_TO_B, header, InnerHeader(2000, COORDS_WARMUP, 0).encode())
    assert EncryptedMessage(header, A_COORDINATES, B_COORDINATES, ciphertext).encode() == WARMUP


def test_a_path_mtu_notification_seals_to_the_printed_frame() -> None:
    header = EncryptedHeader(0, 8, 0)
    body = PathMtuNotification(1280).encode_session()
    ciphertext = sealed(B_TO_A, header, InnerHeader(500, PATH_MTU_NOTIFICATION, 0).encode() + body)
    assert EncryptedMessage(header, [], [], ciphertext).encode() == NOTIFICATION
    assert PathMtuNotification.parse_session(body + b"more") == PathMtuNotification(1280)
    with pytest.raises(WireError):
        PathMtuNotification.parse_session(b"\x00")


def test_an_absent_coordinate_list_takes_two_bytes() -> None:
    message = EncryptedMessage(EncryptedHeader(CP | K, 0, 9), [], B_COORDINATES, bytes(16))
    assert message.encode()[12:14] == bytes(2)
    assert parse_session_message(message.encode()) == message


def test_reserved_flags_of_an_encrypted_message_are_kept_because_they_are_authenticated() -> None:
    message = parse_session_message(unhex("00f80000 0900000000000000") + bytes(16))
    assert isinstance(message, EncryptedMessage)
    assert message.header == EncryptedHeader(0xF8, 0, 9)


@pytest.mark.parametrize(
    "message",
    [
        bytes(27),
        unhex("10000000") + bytes(24),
        unhex("00010000 0000000000000000 ffff") + bytes(14),
        unhex("00010000 0000000000000000 0000 0100") + bytes(12),
        unhex("04000000") + bytes(24),
        unhex("0f000000") + bytes(24),
        bytes(3),
        b"",
    ],
    ids=["short", "version", "long list", "cut list", "phase 4", "phase 15", "no prefix", "nothing"],
)
def test_a_malformed_session_message_is_refused(message: bytes) -> None:
    with pytest.raises(WireError):
        parse_session_message(message)


def test_an_encrypted_header_is_neither_a_signal_nor_of_another_phase() -> None:
    for start in ("0004", "0100", "2000"):
        with pytest.raises(WireError):
            EncryptedHeader.parse(unhex(start) + bytes(40))


@pytest.mark.parametrize("parse", [InnerHeader.parse, DataPacket.parse])
def test_a_cut_plaintext_is_refused(parse: Any) -> None:
    with pytest.raises(WireError):
        parse(bytes(3))


SIGNAL_ROWS = [
    (CoordinatesRequired(B, REPORTER), unhex("00042200 2000") + B + REPORTER),
    (PathBroken(B, REPORTER, []), unhex("00042400 2100") + B + REPORTER + bytes(2)),
    (PathBroken(B, REPORTER, B_COORDINATES), unhex("00044400 2100") + B + REPORTER + unhex(B_LIST)),
    (MtuExceeded(B, REPORTER, 1280), unhex("00042400 2200") + B + REPORTER + unhex("0005")),
    (
        CoordinatesRequired(
            address(SIGNALS["coords_required"]["dest"]), address(SIGNALS["coords_required"]["reporter"])
        ),
        unhex(SIGNALS["coords_required"]["fsp_payload"]),
    ),
    (
        PathBroken(address(204), address(221), []),
        unhex(SIGNALS["path_broken_no_coords"]["fsp_payload"]),
    ),
    (
        PathBroken(
            address(17), address(34), [address(value) for value in SIGNALS["path_broken_with_coords"]["coords"]]
        ),
        unhex(SIGNALS["path_broken_with_coords"]["fsp_payload"]),
    ),
    (
        MtuExceeded(address(170), address(187), SIGNALS["mtu_exceeded"]["mtu"]),
        unhex(SIGNALS["mtu_exceeded"]["fsp_payload"]),
    ),
]


@pytest.mark.parametrize(("signal", "wire"), SIGNAL_ROWS, ids=range(len(SIGNAL_ROWS)))
def test_signals_have_the_recorded_bytes(signal: Any, wire: bytes) -> None:
    assert signal.encode() == wire
    assert parse_session_message(wire) == signal
    assert parse_signal(wire[4:] + b"more") == signal
    assert parse_session_message(b"\xf0" + wire[1:5] + b"\xff" + wire[6:]) == signal
    for length in range(len(wire)):
        with pytest.raises(WireError):
            parse_session_message(wire[:length])


@pytest.mark.parametrize("kind", [0x00, 0x1F, 0x23, 0xFF])
def test_a_signal_of_unknown_type_is_refused(kind: int) -> None:
    with pytest.raises(WireError, match="type"):
        parse_signal(bytes([kind]) + bytes(60))


def test_coordinates_are_read_where_they_stand() -> None:
    packed = encode_coordinates(A_COORDINATES)
    assert packed == unhex(A_LIST)
    assert parse_coordinates(b"abc" + packed + b"rest", 3, required=True) == (A_COORDINATES, 3 + len(packed))
    assert encode_coordinates([]) == bytes(2)
    assert parse_coordinates(bytes(2), 0, required=False) == ([], 2)
    with pytest.raises(WireError):
        parse_coordinates(bytes(2), 0, required=True)
    for length in range(len(packed)):
        with pytest.raises(WireError):
            parse_coordinates(packed[:length], 0, required=False)


def test_what_is_no_address_is_not_sent_as_one() -> None:
    for odd in ([b"short"], [bytes(17)], [bytes(16)] * 0x10000):
        with pytest.raises(WireError):
            encode_coordinates(odd)
