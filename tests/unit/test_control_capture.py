"""Capturing: what a client sees of the frames, what only with permission, and what it costs when nobody looks."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from meshnode.cli.frames import describe, ipv6_packet
from meshnode.control.capture import MOST_CAPTURES, QUEUED, Captures, CaptureStream
from meshnode.control.commands import CommandError
from tests.unit.node_rig import MeshNet


class Mesh:
    """Two nodes with a link; the left one is looked at."""

    def __init__(self, *, allowed: bool = True) -> None:
        self.net = MeshNet()
        self.left, self.right = self.net.host("left"), self.net.host("right")
        self.left.knows(self.right)
        self.right.knows(self.left)
        self.captures = Captures(self.left.node, lambda: allowed)

    def start(self) -> Mesh:
        self.right.start()
        self.left.start(self.right)
        self.net.run(2)
        return self

    def talk(self) -> bytes:
        """Send a packet there and back; returns the one that was sent."""
        packet = self.left.send(self.right, b"question" * 20)
        self.net.run(1)
        self.right.send(self.left, b"answer" * 20)
        self.net.run(1)
        return packet


def rows(stream: CaptureStream) -> list[dict[str, Any]]:
    """Take all that waits; bytes as bytes."""
    taken = []
    for text in stream.lines():
        if not text:
            return taken
        row = json.loads(text)
        for name in ("frame", "plaintext", "inner"):
            if name in row:
                row[name] = b64decode(row[name])
        taken.append(row)
    raise AssertionError("a stream has no end")


def test_every_frame_of_a_link_is_shown_from_the_handshake_on() -> None:
    mesh = Mesh()
    stream = mesh.captures.capture(None)
    mesh.start()
    seen = rows(stream)
    assert [(row["direction"], row["frame"][0]) for row in seen[:2]] == [("out", 1), ("in", 2)]
    assert {row["frame"][0] for row in seen[2:]} == {0}
    first = seen[0]
    assert (first["transport"], first["transport_id"], first["address"]) == ("memory", 1, "right")
    assert first["time_us"] == 1_700_000_000_000_000
    assert not any("plaintext" in row for row in seen)
    sent = mesh.left.transport.stats()["packets_sent"]
    assert sum(row["direction"] == "out" for row in seen) == sent


def test_opened_frames_show_what_both_ends_said() -> None:
    mesh = Mesh().start()
    stream = mesh.captures.capture({"decrypt": True})
    assert stream.head["decrypt"] is True
    packet = mesh.talk()
    seen = rows(stream)
    assert seen
    assert all("plaintext" in row for row in seen)
    inside = [(row["direction"], ipv6_packet(row["plaintext"], row["inner"])) for row in seen if "inner" in row]
    ((_, question),) = [pair for pair in inside if pair[1] is not None and pair[0] == "out"]
    ((_, answer),) = [pair for pair in inside if pair[1] is not None and pair[0] == "in"]
    assert question is not None
    assert question[8:] == packet[8:]
    assert answer is not None
    assert answer.endswith(b"answer" * 20)


def test_opening_changes_nothing_for_the_node() -> None:
    mesh = Mesh().start()
    mesh.captures.capture({"decrypt": True})
    mesh.talk()
    assert mesh.left.node.links.counters.replayed == 0
    assert mesh.left.stack.packets[-1].endswith(b"answer" * 20)
    assert mesh.right.stack.packets[-1].endswith(b"question" * 20)


def test_plaintexts_need_permission() -> None:
    mesh = Mesh(allowed=False)
    with pytest.raises(CommandError, match=r"does not allow it: write `meshnode: \{capture: \{decrypt: true\}\}`"):
        mesh.captures.capture({"decrypt": True})
    assert mesh.left.node.transports.tap is None
    mesh.captures.capture({"decrypt": False})


def test_nobody_looks_unless_somebody_captures() -> None:
    mesh = Mesh().start()
    assert mesh.left.node.transports.tap is None
    streams = [mesh.captures.capture(None), mesh.captures.capture(None)]
    assert mesh.left.node.transports.tap is not None
    for stream in streams:
        stream.close()
        stream.close()
    assert mesh.left.node.transports.tap is None


def test_captures_are_few_and_announced_in_the_log() -> None:
    mesh = Mesh()
    for _ in range(MOST_CAPTURES):
        mesh.captures.capture({"decrypt": True})
    with pytest.raises(CommandError, match="4 clients capture already"):
        mesh.captures.capture(None)
    assert ("warn", "a client of the control socket captures frames and what is inside") in mesh.left.log


def test_a_client_that_is_too_slow_loses_frames_and_is_told_how_many() -> None:
    mesh = Mesh()
    stream = mesh.captures.capture(None)
    woken: list[bool] = []
    stream.wake = lambda: woken.append(True)
    for _ in range(3):
        stream.take(True, mesh.left.transport, "right", [b"\x00" * 40] * 1000)
    seen = rows(stream)
    assert len(woken) == 3
    assert len(seen) == QUEUED + 1
    assert seen[-1] == {"lost": 3000 - QUEUED}


def test_frames_nobody_can_open_are_shown_closed() -> None:
    mesh = Mesh().start()
    stream = mesh.captures.capture({"decrypt": True})
    for frame in (b"", b"\x00", b"\x00" * 40, b"\xff" * 40, b"\x01" + bytes(113)):
        stream.take(False, mesh.left.transport, "right", [frame])
    assert [set(row) & {"plaintext", "inner"} for row in rows(stream)] == [set()] * 5


def test_every_frame_can_be_told_in_words() -> None:
    mesh = Mesh()
    stream = mesh.captures.capture({"decrypt": True})
    mesh.start()
    mesh.talk()
    lines = [describe(row["frame"], row.get("plaintext"), row.get("inner")) for row in rows(stream)]
    assert lines[0].startswith("Handshake 1 from index ")
    assert lines[1].startswith("Handshake 2 from index ")
    told = "\n".join(lines)
    for word in ("TreeAnnounce root ", "FilterAnnounce sequence 1", "SessionSetup", "SessionAck", "SessionMessage3"):
        assert word in told
    left, right = (host.identity.peer.ipv6_text for host in (mesh.left, mesh.right))
    assert f"SessionDatagram {left} -> {right} ttl 64" in told
    assert "DataPacket port 256 -> 256, 167 bytes" in told
    assert describe(b"\x00\x00") == "malformed: an established frame of 2 bytes, it takes at least 32"
