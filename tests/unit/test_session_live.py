"""Sessions recorded with running daemons of three versions, played back message by message."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.session import Session, SessionLayer
from meshnode.mesh.settings import MeshSettings
from meshnode.noise import NONCE
from meshnode.wire import EncryptedMessage, SessionAck, SessionMessage, SessionSetup, parse_session_message

from .session_rig import FakeRouter
from .vectors import load

IGNORED = "(ignored)"


def recordings() -> list[tuple[str, str]]:
    """Scenario and node of ours, for every node of ours that took part in a session handshake."""
    found = []
    for scenario in load("live")["scenarios"]:
        for name in scenario["nodes"]:
            if any(e["node"] == name and e["layer"] == "fsp" and "Msg3" in e["what"] for e in scenario["events"]):
                found.append((scenario["name"], name))
    return found


class Playback:
    """Our node of a recording: what came in is fed, what went out is compared."""

    def __init__(self, scenario: dict[str, Any], name: str) -> None:
        ours = scenario["nodes"][name]
        self.events = [e for e in scenario["events"] if e["node"] == name and e["layer"] == "fsp"]
        self.identity = Identity(bytes.fromhex(ours["secret"]))
        self.router = FakeRouter(self.identity.node_addr)
        self.ephemerals = [bytes.fromhex(e["ephemeral_secret"]) for e in self.events if "ephemeral_secret" in e]
        self.layer = SessionLayer(
            self.identity, bytes.fromhex(ours["epoch"]), MeshSettings(), self.entropy, Random(1), self.router
        )
        self.now = 0.0
        self.opened = self.resealed = self.compared = 0
        for node in scenario["nodes"].values():
            self.layer.identities.insert(PeerIdentity.from_public_key(bytes.fromhex(node["pubkey"])), 0.0)

    def entropy(self, size: int) -> bytes:
        assert size == 32
        return self.ephemerals.pop(0)

    def play(self) -> None:
        for at, event in enumerate(self.events):
            self.let_time_pass(event["t"])
            if IGNORED in event["what"]:
                continue
            message = bytes.fromhex(event["fsp"])
            if event["dir"] == "in":
                self.take_coordinates(self.events[at + 1 :])
                self.feed(event, message)
            else:
                self.compare(event, message)

    def let_time_pass(self, now: float) -> None:
        while int(self.now) < int(now):
            self.now = float(int(self.now) + 1)
            self.layer.handle_timeout(self.now)
        self.now = now
        self.layer.handle_timeout(now)

    def take_coordinates(self, events: list[dict[str, Any]]) -> None:
        """Put us at that place in the tree at which the next message of ours shows us."""
        for event in events:
            if event["dir"] == "out":
                self.place(parse_session_message(bytes.fromhex(event["fsp"])))
                return

    def place(self, message: SessionMessage) -> None:
        if isinstance(message, SessionSetup | SessionAck):
            self.router.own_coordinates = message.source_coordinates
            self.router.cache[message.destination_coordinates[0]] = message.destination_coordinates

    def feed(self, event: dict[str, Any], message: bytes) -> None:
        remote = bytes.fromhex(event["remote"])
        self.layer.receive(remote, remote, [message], 0, 1280, False, self.now)
        if "plaintext" in event:
            session = self.layer.sessions[remote]
            if session.established:
                assert session.last_heard == self.now, event["what"]
                self.opened += 1

    def compare(self, event: dict[str, Any], message: bytes) -> None:
        remote = bytes.fromhex(event["remote"])
        if "plaintext" in event:
            self.reseal(self.layer.sessions[remote], event, message)
        elif message[0] in (1, 2, 3):
            if message[0] == 1:
                self.start(event, message)
            assert (remote, message) in self.layer.outbound, event["what"]
            self.compared += 1

    def start(self, event: dict[str, Any], message: bytes) -> None:
        """What the prototype decided by itself: to open, to rekey."""
        remote = bytes.fromhex(event["remote"])
        self.place(parse_session_message(message))
        identity = self.layer.identities.peek(remote)
        assert identity is not None
        session = self.layer.sessions.get(remote)
        if session is None:
            self.layer.open(identity, self.now)
        elif session.established:
            self.layer._rekeying.start(session, self.now)
        else:
            self.layer._opening.initiate(identity, self.now)

    def reseal(self, session: Session, event: dict[str, Any], message: bytes) -> None:
        parsed = parse_session_message(message)
        assert isinstance(parsed, EncryptedMessage)
        plaintext = bytes.fromhex(event["plaintext"])
        epochs = [epoch for epoch in (session.current, session.pending, session.previous) if epoch is not None]
        sealed = [epoch.encrypt(NONCE.pack(event["counter"]), plaintext, message[:12]) for epoch in epochs]
        assert parsed.ciphertext in sealed, event["what"]
        self.resealed += 1


@pytest.mark.parametrize(("scenario", "node"), recordings())
def test_a_recorded_session_is_understood_and_reproduced(scenario: str, node: str) -> None:
    recording = next(entry for entry in load("live")["scenarios"] if entry["name"] == scenario)
    playback = Playback(recording, node)
    playback.play()
    assert playback.opened
    assert playback.compared
    assert playback.resealed
