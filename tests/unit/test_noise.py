"""The IK and XK handshakes against recorded transcripts, and against forgery and misuse (spec 01 section 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from coincurve import PublicKey

from meshnode.identity import Identity, PeerIdentity
from meshnode.noise import (
    NONCE,
    IkInitiator,
    IkResponder,
    InvalidTag,
    NoiseError,
    TransportKeys,
    XkInitiator,
    XkResponder,
    aead,
)
from meshnode.noise.handshake import Handshake
from meshnode.noise.symmetric import SymmetricState, dh, parse_point, public_point
from meshnode.wire import EstablishedHeader, EstablishedPlaintext, Msg1, Msg2, WireError

from .vectors import load, names, unhex

VECTORS = load("noise")
PRIMITIVES = VECTORS["primitives"]
HANDSHAKES = VECTORS["handshakes"]
ACCEPTANCE = VECTORS["acceptance"]["cases"]

A = Identity(bytes(range(1, 33)))
B = Identity(b"\x01" * 32)
EPOCH_A, EPOCH_B = unhex("a1b2c3d411223344"), unhex("d4c3b2a144332211")
EPHEMERAL_A, EPHEMERAL_B = b"\x21" * 32, b"\x42" * 32


class Inputs:
    """The secrets of one recorded handshake."""

    def __init__(self, handshake: dict[str, Any]) -> None:
        inputs = handshake["inputs"]
        self.initiator = Identity(unhex(inputs["initiator_static_secret"]))
        self.responder = Identity(unhex(inputs["responder_static_secret"]))
        self.epochs = unhex(inputs["initiator_epoch"]), unhex(inputs["responder_epoch"])
        self.ephemerals = unhex(inputs["initiator_ephemeral_secret"]), unhex(inputs["responder_ephemeral_secret"])
        used = unhex(handshake["derived_public_keys"]["responder_static_as_used_by_initiator"])
        self.remote = PeerIdentity.from_public_key(used)

    def pair(self, pattern: str) -> tuple[Any, Any]:
        dial, answer = (IkInitiator, IkResponder) if pattern == "IK" else (XkInitiator, XkResponder)
        initiator = dial(self.initiator, self.remote, self.epochs[0], self.ephemerals[0])
        return initiator, answer(self.responder, self.epochs[1])


def play(initiator: Any, responder: Any, ephemeral: bytes) -> list[bytes]:
    """Run a handshake to its end and return its messages."""
    messages = [initiator.message1()]
    responder.read_message1(messages[0])
    messages.append(responder.write_message2(ephemeral))
    initiator.read_message2(messages[1])
    if isinstance(initiator, XkInitiator):
        messages.append(initiator.message3())
        responder.read_message3(messages[2])
    return messages


class TracedState(SymmetricState):
    """A symmetric state that notes h, ck, k and n after every operation."""

    __slots__ = ("log",)

    log: list[tuple[str, str, str | None, int]]

    @classmethod
    def attach(cls, handshake: Handshake) -> list[tuple[str, str, str | None, int]]:
        plain = handshake.symmetric
        traced = object.__new__(cls)
        traced.h, traced.ck, traced.k, traced.n, traced.log = plain.h, plain.ck, plain.k, plain.n, []
        traced.note()
        handshake.symmetric = traced
        return traced.log

    def copy(self) -> SymmetricState:
        twin = super().copy()
        assert isinstance(twin, TracedState)
        twin.log = self.log
        return twin

    def note(self) -> None:
        self.log.append((self.h.hex(), self.ck.hex(), self.k.hex() if self.k else None, self.n))

    def mix_hash(self, data: bytes) -> None:
        super().mix_hash(data)
        self.note()

    def mix_key(self, secret: bytes) -> None:
        super().mix_key(secret)
        self.note()


@pytest.mark.parametrize("handshake", HANDSHAKES, ids=names(HANDSHAKES, "name"))
def test_every_message_and_key_equals_the_recorded_transcript(handshake: dict[str, Any]) -> None:
    inputs = Inputs(handshake)
    initiator, responder = inputs.pair(handshake["pattern"])
    messages = play(initiator, responder, inputs.ephemerals[1])
    assert [message.hex() for message in messages] == [
        handshake["messages"][f"noise_msg{number}"] for number in range(1, len(messages) + 1)
    ]
    forth, back = (unhex(handshake["split"][key]) for key in ("k_initiator_to_responder", "k_responder_to_initiator"))
    assert initiator.keys == TransportKeys(send=forth, receive=back)
    assert responder.keys == TransportKeys(send=back, receive=forth)
    assert responder.remote == inputs.initiator.peer
    assert responder.remote_static == inputs.initiator.public_key
    assert (responder.remote_epoch, initiator.remote_epoch) == inputs.epochs
    assert (
        initiator.symmetric.h.hex() == responder.symmetric.h.hex() == handshake["transcript_hashes"]["handshake_hash"]
    )


@pytest.mark.parametrize("handshake", HANDSHAKES, ids=names(HANDSHAKES, "name"))
def test_both_sides_pass_through_every_recorded_intermediate_state(handshake: dict[str, Any]) -> None:
    inputs = Inputs(handshake)
    initiator, responder = inputs.pair(handshake["pattern"])
    logs = TracedState.attach(initiator), TracedState.attach(responder)
    play(initiator, responder, inputs.ephemerals[1])
    expected = [(step["h"], step["ck"], step["k"], step["n"]) for step in handshake["steps"]]
    assert logs[0] == expected
    assert logs[1] == expected


@pytest.mark.parametrize("handshake", [h for h in HANDSHAKES if h["pattern"] == "IK"], ids=lambda h: h["name"])
def test_link_handshakes_travel_in_their_recorded_frames(handshake: dict[str, Any]) -> None:
    messages, inputs = handshake["messages"], handshake["inputs"]
    initiator_index, responder_index = int(inputs["initiator_index"], 16), int(inputs["responder_index"], 16)
    msg1 = Msg1(initiator_index, unhex(messages["noise_msg1"]))
    msg2 = Msg2(responder_index, initiator_index, unhex(messages["noise_msg2"]))
    assert msg1.encode().hex() == messages["wire_msg1"]
    assert msg2.encode().hex() == messages["wire_msg2"]
    assert Msg1.parse(msg1.encode()) == msg1
    assert Msg2.parse(msg2.encode()) == msg2


@pytest.mark.parametrize("handshake", HANDSHAKES, ids=names(HANDSHAKES, "name"))
def test_transport_frames_seal_and_open_byte_for_byte(handshake: dict[str, Any]) -> None:
    for frame in handshake["transport_frames"]:
        forth = frame["from"] == "initiator"
        key = unhex(handshake["split"]["k_initiator_to_responder" if forth else "k_responder_to_initiator"])
        nonce, header, plaintext = NONCE.pack(frame["counter"]), unhex(frame["aad"]), unhex(frame["plaintext"])
        assert nonce.hex() == frame["nonce"]
        sealed = aead(key).encrypt(nonce, plaintext, header)
        assert (header + sealed).hex() == frame["frame"]
        assert aead(key).decrypt(nonce, sealed, header) == plaintext


def test_primitives_equal_the_recorded_ones() -> None:
    responder = unhex(PRIMITIVES["premessage"]["responder_static_as_mixed"])
    for pattern, row in PRIMITIVES["protocol_names"].items():
        state = SymmetricState(row["ascii"].encode(), responder)
        assert state.ck.hex() == row["initial_h_and_ck"]
        assert state.h.hex() == PRIMITIVES["premessage"][pattern]
    for row in PRIMITIVES["ecdh"]:
        assert dh(unhex(row["secret"]), PublicKey(unhex(row["public"]))).hex() == row["output"]
    for row in PRIMITIVES["nonce"]:
        assert NONCE.pack(row["counter"]).hex() == row["nonce"]
    state.ck = unhex(PRIMITIVES["mix_key"]["ck"])
    state.mix_key(unhex(PRIMITIVES["mix_key"]["ikm"]))
    assert (state.ck.hex(), state.k and state.k.hex()) == (
        PRIMITIVES["mix_key"]["new_ck"],
        PRIMITIVES["mix_key"]["new_k"],
    )
    state.ck = unhex(PRIMITIVES["split"]["ck"])
    assert [key.hex() for key in state.split()] == [PRIMITIVES["split"]["k1"], PRIMITIVES["split"]["k2"]]


def read_ik_message1(case: dict[str, Any]) -> str:
    responder = IkResponder(Identity(unhex(case["responder_static_secret"])), EPOCH_B)
    responder.read_message1(unhex(case["data"]))
    return responder.remote_static.hex()


def read_ik_message2(case: dict[str, Any]) -> str:
    remote = Identity(unhex(case["responder_static_secret"])).peer
    initiator = IkInitiator(
        Identity(unhex(case["initiator_static_secret"])),
        remote,
        unhex(case["initiator_epoch"]),
        unhex(case["initiator_ephemeral_secret"]),
    )
    initiator.message1()
    initiator.read_message2(unhex(case["data"]))
    return initiator.remote_epoch.hex()


def open_frame(case: dict[str, Any]) -> str:
    frame = unhex(case["data"])
    nonce = NONCE.pack(EstablishedHeader.parse(frame).counter)
    return aead(unhex(case["key"])).decrypt(nonce, frame[16:], frame[:16]).hex()


def read_established(case: dict[str, Any]) -> str:
    header = EstablishedHeader.parse(unhex(case["data"]))
    return f"{header.receiver_index:08x}/{header.counter}"


def read_msg1(case: dict[str, Any]) -> str:
    return f"{Msg1.parse(unhex(case['data'])).sender_index:08x}"


def read_msg2(case: dict[str, Any]) -> str:
    message = Msg2.parse(unhex(case["data"]))
    return f"{message.sender_index:08x}/{message.receiver_index:08x}"


def strip_inner(case: dict[str, Any]) -> str:
    inner = EstablishedPlaintext.parse(unhex(case["data"]))
    return f"{inner.timestamp}/{inner.message[:1].hex()}"


READERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "noise_ik_msg1": read_ik_message1,
    "noise_ik_msg2": read_ik_message2,
    "frame": open_frame,
    "wire_established": read_established,
    "wire_msg1": read_msg1,
    "wire_msg2": read_msg2,
    "strip_inner": strip_inner,
}


@pytest.mark.parametrize("case", ACCEPTANCE, ids=names(ACCEPTANCE, "name"))
def test_single_messages_are_accepted_or_refused_as_recorded(case: dict[str, Any]) -> None:
    read = READERS[case["kind"]]
    if case["accepted"]:
        assert read(case) == case["result"]
        return
    with pytest.raises((NoiseError, WireError, InvalidTag)):
        read(case)


def dialled() -> tuple[IkInitiator, IkResponder, bytes]:
    """A link handshake up to the answer, which the initiator has not read."""
    initiator, responder = IkInitiator(A, B.peer, EPOCH_A, EPHEMERAL_A), IkResponder(B, EPOCH_B)
    responder.read_message1(initiator.message1())
    return initiator, responder, responder.write_message2(EPHEMERAL_B)


def answered() -> tuple[XkInitiator, XkResponder, bytes]:
    """A session handshake up to the answer, which the initiator has not read."""
    initiator, responder = XkInitiator(A, B.peer, EPOCH_A, EPHEMERAL_A), XkResponder(B, EPOCH_B)
    responder.read_message1(initiator.message1())
    return initiator, responder, responder.write_message2(EPHEMERAL_B)


def damaged(message: bytes) -> list[bytes]:
    """Copies of a message that must not pass: cut, lengthened, one bit wrong in the tag, another key, no key at all."""
    other_point = public_point(b"\x05" * 32)
    return [
        message[:-1],
        message + b"\x00",
        b"",
        message[:-1] + bytes([message[-1] ^ 1]),
        other_point + message[33:],
        bytes(33) + message[33:],
        b"\x04" + message[1:],
    ]


def test_the_printed_session_handshake_comes_out() -> None:
    initiator, responder, message2 = answered()
    assert message2 == unhex(
        "0324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c"
        "58d3ae85f53d36c515a984c911e5919305fe16ffcab528be"
    )
    initiator.read_message2(message2)
    message3 = initiator.message3()
    assert message3 == unhex(
        "58746ffff52cad339c47e98763f4a5a395bc3ab1f3d8c621e4560b546a2d60a258dfbbf56c7c35f8094f34f901768ed84c"
        "b83b98a2d69f625353736370f31e942a3758bdece010d830"
    )
    responder.read_message3(message3)
    assert responder.keys.receive.hex() == "64b5c219367be043349bcf30063700c371c08374db3691856d1f83d73657af6d"
    assert responder.keys.send.hex() == "f8344dec00ac2bd508835018bd08da8ecd7d29e6a96a8cd8a2a60e64e0e3e886"
    assert responder.remote.node_addr == A.node_addr


def test_a_forged_link_answer_leaves_the_dial_usable() -> None:
    initiator, responder, message2 = dialled()
    before = initiator.symmetric
    for forged in damaged(message2):
        with pytest.raises(NoiseError):
            initiator.read_message2(forged)
        assert initiator.symmetric is before
    keys = initiator.read_message2(message2)
    assert (keys.send, keys.receive) == (responder.keys.receive, responder.keys.send)


def test_a_forged_opening_leaves_the_link_responder_usable() -> None:
    message1 = IkInitiator(A, B.peer, EPOCH_A, EPHEMERAL_A).message1()
    responder = IkResponder(B, EPOCH_B)
    for forged in damaged(message1):
        with pytest.raises(NoiseError):
            responder.read_message1(forged)
    responder.read_message1(message1)
    assert responder.remote == A.peer
    assert responder.remote_epoch == EPOCH_A
    assert responder.remote_ephemeral == message1[:33]


def test_a_forged_session_answer_leaves_the_initiator_usable() -> None:
    initiator, responder, message2 = answered()
    for forged in damaged(message2):
        with pytest.raises(NoiseError):
            initiator.read_message2(forged)
        with pytest.raises(NoiseError):
            initiator.message3()
    initiator.read_message2(message2)
    responder.read_message3(initiator.message3())
    assert responder.keys.receive == initiator.keys.send


def test_a_forged_third_message_leaves_the_session_responder_usable() -> None:
    initiator, responder, message2 = answered()
    initiator.read_message2(message2)
    message3 = initiator.message3()
    for forged in damaged(message3):
        with pytest.raises(NoiseError):
            responder.read_message3(forged)
        with pytest.raises(NoiseError, match="not complete"):
            _ = responder.keys
    responder.read_message3(message3)
    assert responder.remote == A.peer


def test_an_encrypted_static_that_is_no_key_is_refused() -> None:
    responder = XkResponder(B, EPOCH_B)
    responder.read_message1(public_point(EPHEMERAL_A))
    responder.write_message2(EPHEMERAL_B)
    sealed_static = responder.symmetric.copy().encrypt_and_hash(b"\x02" + bytes(32))
    with pytest.raises(NoiseError, match="curve"):
        responder.read_message3(sealed_static + bytes(24))


@pytest.mark.parametrize("opening", [bytes(33), b"\x04" + bytes(32), bytes(32), bytes(34), b""], ids=bytes.hex)
def test_a_session_opening_that_is_no_point_is_refused(opening: bytes) -> None:
    with pytest.raises(NoiseError):
        XkResponder(B, EPOCH_B).read_message1(opening)


def test_each_step_is_taken_once_and_in_order() -> None:
    initiator, responder, message2 = dialled()
    fresh = IkInitiator(A, B.peer, EPOCH_A, EPHEMERAL_A)
    with pytest.raises(NoiseError, match="out of turn"):
        fresh.read_message2(message2)
    with pytest.raises(NoiseError, match="out of turn"):
        initiator.message1()
    with pytest.raises(NoiseError, match="out of turn"):
        responder.write_message2(EPHEMERAL_B)
    with pytest.raises(NoiseError, match="out of turn"):
        IkResponder(B, EPOCH_B).write_message2(EPHEMERAL_B)
    with pytest.raises(NoiseError, match="out of turn"):
        XkResponder(B, EPOCH_B).read_message3(bytes(73))
    with pytest.raises(NoiseError, match="not complete"):
        _ = initiator.keys
    initiator.read_message2(message2)
    with pytest.raises(NoiseError, match="out of turn"):
        initiator.read_message2(message2)


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32], ids=["zero", "too large"])
def test_an_unusable_ephemeral_is_a_noise_error(secret: bytes) -> None:
    with pytest.raises(NoiseError, match="ephemeral"):
        IkInitiator(A, B.peer, EPOCH_A, secret).message1()
    responder = XkResponder(B, EPOCH_B)
    responder.read_message1(public_point(EPHEMERAL_A))
    with pytest.raises(NoiseError, match="ephemeral"):
        responder.write_message2(secret)
    responder.write_message2(EPHEMERAL_B)


def test_an_epoch_has_eight_bytes() -> None:
    with pytest.raises(NoiseError, match="8 bytes"):
        IkResponder(B, bytes(7))


def test_nothing_is_encrypted_before_a_key_is_agreed_on() -> None:
    with pytest.raises(NoiseError, match="no key"):
        SymmetricState(b"name", B.peer.even_lift).encrypt_and_hash(b"x")


def test_a_handshake_with_oneself_works_like_any_other() -> None:
    initiator, responder = IkInitiator(A, A.peer, EPOCH_A, EPHEMERAL_A), IkResponder(A, EPOCH_A)
    play(initiator, responder, EPHEMERAL_B)
    assert responder.remote == A.peer


def test_secrets_show_in_no_printed_form() -> None:
    initiator, responder, message2 = dialled()
    keys = initiator.read_message2(message2)
    shown = repr([initiator, responder, keys, initiator.symmetric]) + str(keys) + f"{initiator}"
    for secret in (keys.send, keys.receive, A.secret, B.secret, EPHEMERAL_A, EPHEMERAL_B, initiator.symmetric.ck):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


def test_points_are_parsed_in_compressed_form_only() -> None:
    assert parse_point(B.public_key).format() == B.public_key
    with pytest.raises(NoiseError):
        parse_point(b"")


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(16), bytes(40)], ids=len)
def test_garbage_does_not_open(data: bytes) -> None:
    with pytest.raises(InvalidTag):
        aead(bytes(32)).decrypt(NONCE.pack(0), data, b"")
