"""Whoever records a whole conversation and says it again, in any order and from anywhere, interrupts nothing."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from random import Random

import pytest

from tests.net import reference
from tests.rigs import traffic
from tests.rigs.hosts import Bridge, Host
from tests.rigs.labs import Lab
from tests.rigs.nodes import Program
from tests.rigs.recorder import Recorded, Recorder, replay_from
from tests.rigs.waiting import pause, wait_until

pytestmark = pytest.mark.net

_MOST_FRAMES = 1500
_MBIT = 5.0


class Street:
    """Two nodes and a stranger at one switch; `left` dials `right`."""

    def __init__(self, lab: Lab, left: Program | None = None, right: Program | None = None) -> None:
        self.bridge = Bridge(lab.host("switch"), "10.99.0")
        self.left = lab.node("left", lab.host("host-left"), left, {"node": {"log_level": "debug"}})
        self.right = lab.node("right", lab.host("host-right"), right)
        self.stranger: Host = lab.host("stranger")
        self.left_address, self.right_address, _ = map(
            self.bridge.join, (self.left.host, self.right.host, self.stranger)
        )
        self.left.dials(self.right, self.right_address)
        self.recorder = Recorder(self.bridge, ["port0", "port1"])

    def start(self) -> None:
        for node in (self.right, self.left):
            node.start()
            node.wait_ready()
        self.left.wait_connected(self.right)
        self.right.wait_connected(self.left)

    def paths(self) -> list[object]:
        return [
            (row["link_id"], row["transport_addr"]) for node in (self.left, self.right) for row in node.peers().values()
        ]


def _brisk(seconds: int) -> Program:
    command = f"{shlex.quote(sys.executable)} -m tests.rigs.brisk {seconds} --nodaemon --pidfile= meshnode"
    return Program("brisk meshnode", command + " --config {config}")


def _telling(records: list[Recorded]) -> list[Recorded]:
    """All handshake frames, and of the others as many as fit."""
    handshakes = [record for record in records if record.payload[:1] in (b"\x01", b"\x02")]
    others = [record for record in records if record.payload[:1] == b"\x00"]
    kept = Random(1).sample(others, min(len(others), _MOST_FRAMES - len(handshakes)))
    wanted = {id(record) for record in (*handshakes, *kept)}
    return [record for record in records if id(record) in wanted]


def test_a_conversation_said_again_interrupts_nothing(lab: Lab, measured: Callable[[str], None]) -> None:
    street = Street(lab, _brisk(4), _brisk(4))
    street.start()
    left, right = street.left, street.right
    first = traffic.Streaming(left.host, right.host, right.address, _MBIT)
    wait_until(lambda: left.log().count("session keys with") >= 2, 30, "links and sessions were renewed twice")
    assert first.finish().intact
    records = _telling(street.recorder.stop())
    kinds = {record.payload[0] for record in records}
    assert kinds == {0, 1, 2}
    before, logs = street.paths(), [len(node.log()) for node in (left, right)]
    streams = [
        traffic.Streaming(left.host, right.host, right.address, _MBIT),
        traffic.Streaming(right.host, left.host, left.address, _MBIT),
    ]
    with (
        traffic.pinging(left.host, right.address, 0.02) as there,
        traffic.pinging(right.host, left.address, 0.02) as back,
    ):
        there.first(5)
        back.first(5)
        for order in (records, records[::-1], Random(2).sample(records, len(records))):
            street.recorder.replay(order)
            replay_from(street.stranger, order)
        pause(6)  # whatever was set off by it would show by now
        gaps = [traffic.longest_gap(ping) for ping in (there, back)]
    done = [stream.finish() for stream in streams]
    street.recorder.close()
    pauses = [stream.longest_pause for stream in done]
    measured(f"{6 * len(records)} frames replayed; longest gap of echoes {max(gaps):.2f} s, of TCP {max(pauses):.2f} s")
    assert all(stream.intact for stream in done)
    assert max(gaps) < 1
    assert street.paths() == before
    news = [node.log()[seen:] for node, seen in zip((left, right), logs, strict=True)]
    assert not [line for log in news for line in log.splitlines() if " removed:" in line or " closed:" in line]


def test_a_recorded_first_message_shows_nobody(lab: Lab) -> None:
    street = Street(lab)
    street.start()
    records = street.recorder.stop()
    (first,) = [record for record in records if record.payload[:1] == b"\x01"][:1]
    street.left.stop()
    wait_until(lambda: not street.right.peers(), 10, "the peer that said goodbye is gone")
    for _ in range(20):
        replay_from(street.stranger, [first])
        street.recorder.replay([first])
        pause(0.1)
        assert street.right.peers() == {}
    street.recorder.close()


@pytest.mark.interop
def test_the_reference_led_astray_by_a_recorded_first_message_is_cured(
    lab: Lab, measured: Callable[[str], None]
) -> None:
    """One old datagram from anywhere makes it use keys that nobody has; alone it recovers in half a minute."""
    street = Street(lab, right=reference.program())
    street.start()
    left, right = street.left, street.right
    with traffic.pinging(left.host, right.address, 0.05) as echoes:
        echoes.first(10)
        pause(32)  # younger links are not led astray
        (first,) = [record for record in street.recorder.stop() if record.payload[:1] == b"\x01"][:1]
        replay_from(street.stranger, [first])
        pause(20)
        gap = traffic.longest_gap(echoes)
    street.recorder.close()
    measured(f"longest gap of echoes {gap:.2f} s")
    assert gap < 9
    assert left.is_connected_to([right])
