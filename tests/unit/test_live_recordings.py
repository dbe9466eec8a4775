"""Conversations recorded with running daemons, replayed from their secrets: every byte we sent must come out again.

Handshakes are recomputed in both roles, frames of both layers are opened and sealed again, messages are decoded,
compared with the recorded fields and encoded back, signatures are verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from meshnode.identity import Identity, PeerIdentity, mesh_ipv6
from meshnode.noise import (
    NONCE,
    IkInitiator,
    IkResponder,
    InvalidTag,
    NoiseError,
    ReplayWindow,
    TransportKeys,
    XkInitiator,
    XkResponder,
    aead,
)
from meshnode.wire import (
    DataPacket,
    Disconnect,
    EncryptedMessage,
    EstablishedHeader,
    EstablishedPlaintext,
    FilterAnnounce,
    InnerHeader,
    LinkMessage,
    LookupRequest,
    LookupResponse,
    Msg1,
    Msg2,
    PathMtuNotification,
    ReceiverReport,
    SenderReport,
    SessionAck,
    SessionDatagram,
    SessionMessage3,
    SessionSetup,
    TreeAnnounce,
    parse_link_message,
    parse_session_message,
    payload_length_agrees,
    stream_frame_length,
)
from meshnode.wire.ipv6_shim import SHIM_PORT, compress, decompress
from meshnode.wire.session import (
    COORDS_WARMUP,
    CP,
    DATA_PACKET,
    INNER,
    PATH_MTU_NOTIFICATION,
    SESSION_RECEIVER_REPORT,
    SESSION_SENDER_REPORT,
)

from .vectors import load, unhex

SCENARIOS = load("live")["scenarios"]
EVENTS = [event for scenario in SCENARIOS for event in scenario["events"]]
SIGNALS = {"CoordsRequired", "PathBroken", "MtuExceeded"}
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])


def link_frames(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """Established link frames."""
    return [event for event in scenario["events"] if event["layer"] == "fmp" and "key" in event]


def session_messages(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """Encrypted session messages."""
    return [event for event in scenario["events"] if event["layer"] == "fsp" and "key" in event]


def open_link_frame(event: dict[str, Any]) -> bytes:
    frame = unhex(event["frame"])
    return aead(unhex(event["key"])).decrypt(NONCE.pack(event["counter"]), frame[16:], frame[:16])


def link_messages(scenario: dict[str, Any]) -> Iterator[tuple[dict[str, Any], LinkMessage]]:
    for event in link_frames(scenario):
        yield event, parse_link_message(EstablishedPlaintext.parse(open_link_frame(event)).message)


class Replay:
    """Both kinds of handshake of one scenario, driven by its events.

    `answers` holds the message we would send next, under what the recording calls the exchange.
    """

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.nodes = scenario["nodes"]
        self.dials: dict[tuple[str, int], IkInitiator] = {}
        self.answers: dict[tuple[str, int], IkResponder] = {}
        self.openings: dict[tuple[str, str], XkInitiator] = {}
        self.replies: dict[tuple[str, str], XkResponder] = {}
        self.recomputed = 0

    def us(self, event: dict[str, Any]) -> tuple[Identity, bytes]:
        node = self.nodes[event["node"]]
        return Identity.parse(node["secret"]), unhex(node["epoch"])

    def sent(self, event: dict[str, Any], message: bytes) -> None:
        assert message.hex() == event["frame" if event["layer"] == "fmp" else "fsp"]
        self.recomputed += 1

    def keys(self, event: dict[str, Any], keys: TransportKeys) -> None:
        assert (keys.send.hex(), keys.receive.hex()) == (event["send_key"], event["recv_key"])

    def link_msg1_out(self, event: dict[str, Any]) -> None:
        identity, epoch = self.us(event)
        remote = PeerIdentity.from_public_key(unhex(event["remote_x"]))
        noise = IkInitiator(identity, remote, epoch, unhex(event["ephemeral_secret"]))
        self.dials[event["node"], event["our_index"]] = noise
        self.sent(event, Msg1(event["our_index"], noise.message1()).encode())

    def link_msg1_in(self, event: dict[str, Any]) -> None:
        message = Msg1.parse(unhex(event["frame"]))
        assert message.sender_index == event["their_index"]
        noise = IkResponder(*self.us(event))
        noise.read_message1(message.noise)
        assert noise.remote_static.hex() == event["remote_static"]
        assert noise.remote_epoch.hex() == event["remote_epoch"]
        self.answers[event["node"], message.sender_index] = noise

    def link_msg2_out(self, event: dict[str, Any]) -> None:
        noise = self.answers[event["node"], event["their_index"]]
        reply = noise.write_message2(unhex(event["ephemeral_secret"]))
        self.sent(event, Msg2(event["our_index"], event["their_index"], reply).encode())
        self.keys(event, noise.keys)

    def link_msg2_in(self, event: dict[str, Any]) -> None:
        message = Msg2.parse(unhex(event["frame"]))
        assert (message.receiver_index, message.sender_index) == (event["our_index"], event["their_index"])
        noise = self.dials[event["node"], message.receiver_index]
        self.keys(event, noise.read_message2(message.noise))
        assert noise.remote_epoch.hex() == event["remote_epoch"]

    def session_setup_out(self, event: dict[str, Any]) -> None:
        identity, epoch = self.us(event)
        remote = PeerIdentity.from_public_key(unhex(event["remote_x"]))
        assert remote.node_addr.hex() == event["remote"]
        noise = XkInitiator(identity, remote, epoch, unhex(event["ephemeral_secret"]))
        self.openings[event["node"], event["remote"]] = noise
        recorded = SessionSetup.parse(unhex(event["fsp"])[4:])
        recorded.handshake = noise.message1()
        self.sent(event, recorded.encode())

    def session_setup_in(self, event: dict[str, Any]) -> None:
        noise = XkResponder(*self.us(event))
        message = parse_session_message(unhex(event["fsp"]))
        assert isinstance(message, SessionSetup)
        noise.read_message1(message.handshake)
        self.replies[event["node"], event["remote"]] = noise

    def session_ack_out(self, event: dict[str, Any]) -> None:
        noise = self.replies[event["node"], event["remote"]]
        recorded = SessionAck.parse(unhex(event["fsp"])[4:])
        recorded.handshake = noise.write_message2(unhex(event["ephemeral_secret"]))
        self.sent(event, recorded.encode())

    def session_ack_in(self, event: dict[str, Any]) -> None:
        noise = self.openings[event["node"], event["remote"]]
        message = parse_session_message(unhex(event["fsp"]))
        assert isinstance(message, SessionAck)
        noise.read_message2(message.handshake)
        assert noise.remote_epoch.hex() == event["remote_epoch"]

    def session_msg3_out(self, event: dict[str, Any]) -> None:
        noise = self.openings[event["node"], event["remote"]]
        self.sent(event, SessionMessage3(noise.message3()).encode())
        self.keys(event, noise.keys)

    def session_msg3_in(self, event: dict[str, Any]) -> None:
        noise = self.replies[event["node"], event["remote"]]
        message = parse_session_message(unhex(event["fsp"]))
        assert isinstance(message, SessionMessage3)
        noise.read_message3(message.handshake)
        assert noise.remote_static.hex() == event["remote_static"]
        assert noise.remote_epoch.hex() == event["remote_epoch"]
        assert noise.remote.node_addr.hex() == event["remote"]
        self.keys(event, noise.keys)

    def session_msg3_ignored(self, event: dict[str, Any]) -> None:
        noise = self.replies.pop((event["node"], event["remote"]))
        noise.read_message3(SessionMessage3.parse(unhex(event["fsp"])[4:]).handshake)
        assert noise.remote.node_addr.hex() == event["remote"]


HANDLERS = {
    ("out", "handshake msg1"): Replay.link_msg1_out,
    ("out", "rekey msg1"): Replay.link_msg1_out,
    ("in", "msg1"): Replay.link_msg1_in,
    ("out", "handshake msg2"): Replay.link_msg2_out,
    ("out", "rekey msg2"): Replay.link_msg2_out,
    ("in", "handshake msg2"): Replay.link_msg2_in,
    ("in", "rekey msg2"): Replay.link_msg2_in,
    ("out", "SessionSetup"): Replay.session_setup_out,
    ("out", "SessionSetup (rekey)"): Replay.session_setup_out,
    ("in", "SessionSetup"): Replay.session_setup_in,
    ("out", "SessionAck"): Replay.session_ack_out,
    ("in", "SessionAck"): Replay.session_ack_in,
    ("out", "SessionMsg3"): Replay.session_msg3_out,
    ("in", "SessionMsg3"): Replay.session_msg3_in,
    ("in", "SessionMsg3 (ignored)"): Replay.session_msg3_ignored,
}


def is_handshake(event: dict[str, Any]) -> bool:
    return "key" not in event and event["what"] not in SIGNALS


@each_scenario
def test_every_handshake_message_comes_out_of_its_secrets(scenario: dict[str, Any]) -> None:
    replay = Replay(scenario)
    handshakes = [event for event in scenario["events"] if is_handshake(event)]
    for event in handshakes:
        HANDLERS[event["dir"], event["what"]](replay, event)
    assert replay.recomputed == sum(event["dir"] == "out" for event in handshakes) > 0


@each_scenario
def test_every_link_frame_opens_and_seals_to_the_same_bytes(scenario: dict[str, Any]) -> None:
    frames = link_frames(scenario)
    assert frames
    for event in frames:
        frame = unhex(event["frame"])
        header = EstablishedHeader.parse(frame)
        assert header.encode() == frame[:16]
        assert header.counter == event["counter"]
        assert payload_length_agrees(frame)
        assert stream_frame_length(frame[:4], 1500) == len(frame)
        plaintext = open_link_frame(event)
        assert plaintext.hex() == event.get("plaintext", plaintext.hex())
        assert len(plaintext) == header.payload_length
        inner = EstablishedPlaintext.parse(plaintext)
        assert inner.encode() == plaintext
        sealed = aead(unhex(event["key"])).encrypt(NONCE.pack(header.counter), plaintext, header.encode())
        assert header.encode() + sealed == frame


@each_scenario
def test_every_session_message_opens_and_seals_to_the_same_bytes(scenario: dict[str, Any]) -> None:
    for event in session_messages(scenario):
        raw = unhex(event["fsp"])
        message = parse_session_message(raw)
        assert isinstance(message, EncryptedMessage)
        assert message.encode() == raw
        cipher, nonce, header = aead(unhex(event["key"])), NONCE.pack(event["counter"]), message.header.encode()
        plaintext = cipher.decrypt(nonce, message.ciphertext, header)
        assert plaintext.hex() == event["plaintext"]
        assert message.header.payload_length == len(plaintext)
        assert message.header.counter == event["counter"]
        message.ciphertext = cipher.encrypt(nonce, plaintext, header)
        assert message.encode() == raw
        check_session_plaintext(event, plaintext, scenario)


def check_session_plaintext(event: dict[str, Any], plaintext: bytes, scenario: dict[str, Any]) -> None:
    """The plaintext is of the recorded kind and encodes back."""
    inner, body = InnerHeader.parse(plaintext), plaintext[INNER.size :]
    assert inner.encode() == plaintext[: INNER.size]
    match inner.msg_type:
        case 0x11:
            assert (inner.msg_type, event["what"]) == (SESSION_SENDER_REPORT, "SenderReport")
            assert SenderReport.parse_session(body).encode_session() == body
        case 0x12:
            assert (inner.msg_type, event["what"]) == (SESSION_RECEIVER_REPORT, "ReceiverReport")
            assert ReceiverReport.parse_session(body).encode_session() == body
        case 0x13:
            assert (inner.msg_type, event["what"]) == (PATH_MTU_NOTIFICATION, "PathMtuNotification")
            assert PathMtuNotification.parse_session(body).encode_session() == body
        case 0x14:
            assert (inner.msg_type, event["what"]) == (COORDS_WARMUP, "CoordsWarmup")
            assert unhex(event["fsp"])[1] & CP
            assert not body
        case _:
            assert (inner.msg_type, event["what"]) == (DATA_PACKET, "DataPacket")
            check_data_packet(event, DataPacket.parse(body), body, scenario)


def check_data_packet(event: dict[str, Any], packet: DataPacket, body: bytes, scenario: dict[str, Any]) -> None:
    """An echo request or answer: its ICMPv6 checksum proves the addresses that the shim left out."""
    assert packet.encode() == body
    assert packet.destination_port == SHIM_PORT
    us, them = unhex(scenario["nodes"][event["node"]]["node_addr"]), unhex(event["remote"])
    source, destination = map(mesh_ipv6, (us, them) if event["dir"] == "out" else (them, us))
    ipv6 = decompress(packet.payload, source, destination)
    assert compress(ipv6) == packet.payload
    pseudo = ipv6[8:40] + len(ipv6[40:]).to_bytes(4, "big") + bytes((0, 0, 0, ipv6[6]))
    covered = pseudo + ipv6[40:] + bytes(len(ipv6) % 2)
    assert int.from_bytes(covered, "big") % 0xFFFF == 0


FIELDS: dict[str, str] = {
    "src": "source",
    "dst": "destination",
    "origin_coords": "origin_coordinates",
    "target_coords": "target_coordinates",
}


def plain(value: Any) -> Any:
    """A decoded field as the recording writes it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if hasattr(value, "node_addr"):
        return [value.node_addr.hex(), value.sequence, value.timestamp]
    return value


@each_scenario
def test_every_link_message_decodes_to_the_recorded_fields_and_encodes_back(scenario: dict[str, Any]) -> None:
    for event, message in link_messages(scenario):
        decoded: dict[str, Any] = dict(event["decoded"])
        inner = EstablishedPlaintext.parse(open_link_frame(event))
        assert message.encode() == inner.message
        assert type(message).__name__ == decoded.pop("type") == event["what"]
        if not isinstance(message, TreeAnnounce):  # its own timestamp took the place of the frame's in the recording
            assert inner.timestamp == decoded.pop("timestamp")
        if isinstance(message, FilterAnnounce):
            bits = int.from_bytes(message.bits, "little")
            assert [at for at in range(bits.bit_length()) if bits >> at & 1] == decoded.pop("set_bits")
        if isinstance(message, SessionDatagram):
            assert message.payload[0] == decoded.pop("fsp_phase")
            assert message.payload[1] == decoded.pop("fsp_flags")
        decoded.pop("reserved", None)
        for name, value in decoded.items():
            assert plain(getattr(message, FIELDS.get(name, name))) == value


@each_scenario
def test_the_payload_of_every_datagram_parses_and_encodes_back(scenario: dict[str, Any]) -> None:
    for _event, message in link_messages(scenario):
        if isinstance(message, SessionDatagram):
            assert parse_session_message(message.payload).encode() == message.payload


def test_every_error_signal_encodes_back() -> None:
    signals = [event for event in EVENTS if event["what"] in SIGNALS]
    assert {(event["dir"], event["what"]) for event in signals} == {
        ("in", "CoordsRequired"),
        ("in", "PathBroken"),
        ("out", "CoordsRequired"),
        ("out", "PathBroken"),
        ("out", "MtuExceeded"),
    }
    for event in signals:
        message = parse_session_message(unhex(event["fsp"]))
        assert type(message).__name__ == {"CoordsRequired": "CoordinatesRequired"}.get(event["what"], event["what"])
        assert message.encode().hex() == event["fsp"]


@each_scenario
def test_tree_announcements_are_signed_by_their_sender_and_make_sense(scenario: dict[str, Any]) -> None:
    peers = [PeerIdentity.from_npub(node["npub"]) for node in scenario["nodes"].values()]
    key_of = {peer.node_addr: peer for peer in peers}
    announces = [message for _event, message in link_messages(scenario) if isinstance(message, TreeAnnounce)]
    assert announces
    for announce in announces:
        signer = key_of[announce.node_addr]
        assert signer.verify(announce.signing_bytes(), announce.signature)
        assert announce.ancestry_error() is None
        announce.sequence += 1
        assert not signer.verify(announce.signing_bytes(), announce.signature)


def test_lookup_answers_are_signed_by_the_target_whatever_the_path_mtu() -> None:
    peers = [PeerIdentity.from_npub(node["npub"]) for scenario in SCENARIOS for node in scenario["nodes"].values()]
    key_of = {peer.node_addr: peer for peer in peers}
    messages = [message for scenario in SCENARIOS for _event, message in link_messages(scenario)]
    answers = [message for message in messages if isinstance(message, LookupResponse)]
    requests = [message for message in messages if isinstance(message, LookupRequest)]
    assert answers
    for answer in answers:
        assert any(request.request_id == answer.request_id for request in requests)
        answer.path_mtu ^= 0x55
        assert key_of[answer.target].verify(answer.proof_bytes(), answer.proof)
        answer.target_coordinates.append(answer.target)
        assert not key_of[answer.target].verify(answer.proof_bytes(), answer.proof)


@each_scenario
def test_recorded_counters_pass_one_window_per_key_and_only_once(scenario: dict[str, Any]) -> None:
    windows: dict[str, ReplayWindow] = {}
    for event in link_frames(scenario) + session_messages(scenario):
        if event["dir"] == "in":
            window = windows.setdefault(event["key"], ReplayWindow())
            assert window.check(event["counter"])
            window.accept(event["counter"])
            assert not window.check(event["counter"])


@each_scenario
def test_a_frame_with_one_wrong_bit_does_not_open(scenario: dict[str, Any]) -> None:
    for event in link_frames(scenario)[::7]:
        frame = bytearray(unhex(event["frame"]))
        for place in (1, 2, 4, 16, len(frame) - 1):
            frame[place] ^= 0x80
            with pytest.raises(InvalidTag):
                open_link_frame({**event, "frame": frame.hex()})
            frame[place] ^= 0x80


def test_a_message_for_somebody_else_is_refused() -> None:
    scenario = SCENARIOS[0]
    event = next(event for event in scenario["events"] if (event["dir"], event["what"]) == ("in", "msg1"))
    responder = IkResponder(Identity(b"\x01" * 32), bytes(8))
    with pytest.raises(NoiseError):
        responder.read_message1(Msg1.parse(unhex(event["frame"])).noise)


def test_the_recordings_hold_what_these_tests_are_for() -> None:
    assert len(SCENARIOS) == 11
    assert sum(len(link_frames(scenario)) for scenario in SCENARIOS) > 500
    assert sum(len(session_messages(scenario)) for scenario in SCENARIOS) > 150
    reasons = [
        message.reason
        for scenario in SCENARIOS
        for _event, message in link_messages(scenario)
        if isinstance(message, Disconnect)
    ]
    assert {int(reason) for reason in reasons} == {0, 6}
