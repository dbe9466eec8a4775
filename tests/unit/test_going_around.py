"""Whole nodes around one that drops what is led through it: their traffic, and what operators see of it."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.node.events import RelayGivenUp, RelayRestored
from tests.unit.node_rig import MeshHost, MeshNet
from tests.unit.test_control_state import Operator


def packets(host: MeshHost) -> int:
    """How many that were sent to it a host got."""
    return sum(packet[6] == 59 for packet in host.stack.packets)


def verdicts(host: MeshHost) -> list[tuple[str, str]]:
    """Whom a node gave up as a relay, and whom it relies on again, in order."""
    told = [record.event for record in host.node.events.since(0)]
    return [(event.KIND, event.npub) for event in told if isinstance(event, RelayGivenUp | RelayRestored)]


class Diamond:
    """a - b - d and a - c - d; a talks to d, and the one in between that it goes through drops everything on demand."""

    def __init__(self) -> None:
        self.net = MeshNet()
        self.a, self.b, self.c, self.d = (self.net.host(name) for name in "abcd")
        self.d.start()
        self.b.start(self.d)
        self.c.start(self.d)
        self.a.start(self.b, self.c)
        self.net.run(5)
        self.a.knows(self.d)
        self.talk(10)
        hop = self.a.node.router.next_hop(self.d.identity.node_addr, self.net.clock.seconds())
        self.liar: MeshHost
        self.honest: MeshHost
        self.liar, self.honest = (self.b, self.c) if hop == self.b.identity.node_addr else (self.c, self.b)

    def talk(self, seconds: int) -> int:
        """Exchange a packet each way every second; how many a got."""
        before = packets(self.a)
        for _ in range(seconds):
            self.a.send(self.d, b"x" * 100)
            self.d.send(self.a, b"y" * 100)
            self.net.run(1)
        return packets(self.a) - before

    def seen_by_a(self, what: str, **params: Any) -> Any:
        return Operator(self.a, self.net).ask(what, params or None)


@pytest.fixture
def diamond(monkeypatch: pytest.MonkeyPatch) -> Diamond:
    diamond = Diamond()
    monkeypatch.setattr(diamond.liar.node.forwarding, "_relay", lambda *datagrams: None)
    return diamond


def test_traffic_goes_around_it_and_operators_are_told(diamond: Diamond) -> None:
    diamond.talk(12)
    assert diamond.talk(10) == 10
    assert verdicts(diamond.a) == [("relay_given_up", diamond.liar.identity.npub)]
    trust = {row["npub"]: row.get("trust") for row in diamond.seen_by_a("show_peers")["peers"]}
    assert trust == {diamond.liar.identity.npub: "black_hole", diamond.honest.identity.npub: None}
    reasons = {
        row["node_addr"]: row["reason"] for row in diamond.seen_by_a("why", npub=diamond.d.identity.npub)["candidates"]
    }
    assert reasons[diamond.liar.identity.node_addr.hex()] == "drops what is led through it"
    assert reasons[diamond.honest.identity.node_addr.hex()] == "chosen"


def test_it_is_still_reached_itself(diamond: Diamond) -> None:
    diamond.talk(12)
    diamond.a.knows(diamond.liar)
    before = packets(diamond.liar)
    for _ in range(5):
        diamond.a.send(diamond.liar, b"for you")
        diamond.net.run(1)
    assert packets(diamond.liar) - before == 5


def test_it_is_a_relay_like_others_a_minute_after_it_behaves_again(
    diamond: Diamond, monkeypatch: pytest.MonkeyPatch
) -> None:
    diamond.talk(12)
    monkeypatch.undo()
    diamond.talk(75)
    npub = diamond.liar.identity.npub
    assert verdicts(diamond.a) == [("relay_given_up", npub), ("relay_restored", npub)]
    assert diamond.talk(5) == 5
