"""Rekeys with every fault of every handshake message, from either side and from both, in either key phase.

Data flows all the while. Nothing but the faulty handshake messages is held back, so nothing of the data may be missing,
nobody may lose a link or a session over it, and in the end both sides use the same keys and nothing is left over.
"""

from __future__ import annotations

import heapq
from itertools import product

import pytest

from .link_rig import LinkHost, LinkNet
from .session_rig import ACK, MSG3, SETUP, Net, Node, established, exchange
from .test_link_layer import exchange as link_exchange
from .test_link_layer import linked

FAULTS = ("none", "lost", "twice", "late", "very late")
DELAYS = {"late": 0.6, "very late": 6.5}
SIDES = ("smaller", "larger", "both")


# -- links


class FaultyWire:
    """Does to the first copy of each kind of handshake frame what the plan says; `kinds` maps phases to faults."""

    def __init__(self, net: LinkNet, plan: dict[int, str]) -> None:
        self.net, self.plan = net, plan
        self.seen: set[tuple[str, int]] = set()
        self.held: list[tuple[float, str, str, bytes]] = []
        net.wire = self

    def __call__(self, source: str, target: str, frame: bytes) -> list[bytes]:
        fault = self.plan.get(frame[0], "none")
        if fault == "all lost":
            return []
        if (source, frame[0]) in self.seen:
            return [frame]
        self.seen.add((source, frame[0]))
        if fault in DELAYS:
            heapq.heappush(self.held, (self.net.now + DELAYS[fault], source, target, frame))
        return {"none": [frame], "twice": [frame, frame]}.get(fault, [])

    def deliver(self) -> None:
        while self.held and self.held[0][0] <= self.net.now:
            _, source, target, frame = heapq.heappop(self.held)
            self.net.inject(source, self.net.hosts[target], frame)
            self.net.settle()


class Conversation:
    """Numbered messages in both directions over one link."""

    def __init__(self, net: LinkNet, *ends: LinkHost) -> None:
        self.net, self.ends, self.sent = net, ends, 0
        for end in ends:
            end.received.clear()

    def go_on(self, seconds: float, wire: FaultyWire) -> None:
        for _ in range(round(seconds / 0.25)):
            self.sent += 1
            for source, target in (self.ends, self.ends[::-1]):
                source.layer.send(source.peer(target), b"\x99" + self.sent.to_bytes(4, "big"), self.net.now)
            self.net.settle()
            self.net.run(0.25)
            wire.deliver()

    def missing(self) -> list[int]:
        wanted = {b"\x99" + number.to_bytes(4, "big"): number for number in range(1, self.sent + 1)}
        return [number for end in self.ends for text, number in wanted.items() if text not in end.received]


def rekey(net: LinkNet, side: str, small: LinkHost, large: LinkHost) -> None:
    for host, other in ((small, large), (large, small)):
        if side in ("both", "smaller" if host is small else "larger"):
            host.layer._initiator.rekey(host.peer(other), net.now)
    net.settle()


def aged(phase: int) -> tuple[LinkNet, LinkHost, LinkHost]:
    """A link old enough for a rekey, in key phase 0 or 1."""
    net, small, large = linked()
    net.run(32, step=1)
    if phase:
        rekey(net, "smaller", small, large)
        net.run(32, step=1)
        assert small.peer(large).k_bit == large.peer(small).k_bit == 1
    return net, small, large


def assert_on_the_same_keys(small: LinkHost, large: LinkHost) -> None:
    ours, theirs = small.peer(large).current, large.peer(small).current
    assert int.from_bytes(ours.our_index, "little") == theirs.their_index
    assert int.from_bytes(theirs.our_index, "little") == ours.their_index


def assert_nothing_left(host: LinkHost) -> None:
    table = host.layer._table
    assert not table.handshakes
    assert not len(table.candidates)
    (peer,) = table.peers.values()
    assert list(table.epochs) == [peer.current.our_index]
    assert not peer.draining


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize(("first", "second"), list(product(FAULTS, FAULTS)))
def test_a_link_with_faulty_rekey_messages_goes_on(first: str, second: str, phase: int, side: str) -> None:
    net, small, large = aged(phase)
    epochs = small.peer(large).current, large.peer(small).current
    wire = FaultyWire(net, {1: first, 2: second})
    talk = Conversation(net, small, large)
    rekey(net, side, small, large)
    talk.go_on(14, wire)
    assert talk.missing() == []
    assert "PeerDown" not in small.names() + large.names()
    assert_on_the_same_keys(small, large)
    assert epochs[0] is not small.peer(large).current
    assert epochs[1] is not large.peer(small).current
    net.run(45, step=1)
    assert_nothing_left(small)
    assert_nothing_left(large)
    link_exchange(net, small, large)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", [1, 2])
def test_a_link_whose_rekeys_never_complete_keeps_its_keys_and_gives_up(kind: int, side: str) -> None:
    net, small, large = aged(0)
    epoch = small.peer(large).current
    wire = FaultyWire(net, {kind: "all lost"})
    talk = Conversation(net, small, large)
    rekey(net, side, small, large)
    talk.go_on(40, wire)
    assert talk.missing() == []
    assert small.peer(large).current is epoch
    assert not small.layer._table.handshakes
    wire.plan.clear()
    rekey(net, side, small, large)
    talk.go_on(3, wire)
    assert_on_the_same_keys(small, large)
    assert small.peer(large).current is not epoch
    assert "PeerDown" not in small.names() + large.names()


@pytest.mark.parametrize("side", SIDES)
def test_stale_and_spoofed_link_frames_do_no_harm_at_any_moment(side: str) -> None:
    """Everything ever said, repeated from elsewhere after every step of a rekey, with and without a flipped bit."""
    net, small, large = aged(0)
    wire = FaultyWire(net, {})
    talk = Conversation(net, small, large)
    rekey(net, side, small, large)
    for _ in range(24):
        talk.go_on(0.5, wire)
        for host, frame in [(net.hosts[target], frame) for _, target, frame in net.log[-60:] if target in net.hosts]:
            broken = bytearray(frame)
            broken[-1] ^= 1
            flipped = bytes((frame[0], frame[1] ^ 1)) + frame[2:]
            for copy in (frame, bytes(broken), flipped):
                net.inject("attacker", host, copy)
    assert talk.missing() == []
    assert small.peer(large).path == (1, large.name)
    assert large.peer(small).path == (1, small.name)
    assert "PeerDown" not in small.names() + large.names()
    assert_on_the_same_keys(small, large)


# -- sessions


class FaultySessions:
    """Does to the first message of each kind and side what the plan says."""

    def __init__(self, net: Net, plan: dict[int, str]) -> None:
        self.net, self.plan = net, plan
        self.seen: set[tuple[bytes, int]] = set()
        net.lose = self

    def __call__(self, source: Node, message: bytes) -> bool:
        kind = message[0] & 15
        fault = self.plan.get(kind, "none")
        if fault == "all lost":
            return True
        if (source.address, kind) in self.seen or fault == "none":
            return False
        self.seen.add((source.address, kind))
        (target,) = (node for node in self.net.nodes.values() if node is not source)
        if fault == "twice":
            self._carry(source, target, message, 0.02)
        elif fault in DELAYS:
            self._carry(source, target, message, DELAYS[fault])
        return fault != "twice"

    def _carry(self, source: Node, target: Node, message: bytes, delay: float) -> None:
        self.net.hold(delay, source.address, target.address, message)


def start(side: str, a: Node, b: Node) -> None:
    for node, other in ((a, b), (b, a)):
        if side in ("both", "smaller" if node is a else "larger"):
            node.layer._rekeying.start(node.session(other), node.net.now)
            node.drain()


def chat(net: Net, a: Node, b: Node, seconds: float) -> list[float]:
    """A message each way every tenth of a second; the times at which one was sent that did not arrive."""
    lost = []
    for _ in range(round(seconds * 10)):
        a.received.clear()
        b.received.clear()
        at = net.now
        a.send(b, b"tick")
        b.send(a, b"tock")
        net.run(0.1)
        if a.received != [b"tock"] or b.received != [b"tick"]:
            lost.append(at)
    return lost


PLANS = [plan for plan in product(FAULTS, repeat=3) if sum(fault != "none" for fault in plan) <= 2]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "-".join(plan))
def test_a_session_with_faulty_rekey_messages_loses_nothing(plan: tuple[str, ...], side: str) -> None:
    net, a, b = established()
    net.run(31)
    epoch = a.session(b).current
    FaultySessions(net, dict(zip((SETUP, ACK, MSG3), plan, strict=True)))
    start(side, a, b)
    assert chat(net, a, b, 12) == []
    net.run(45)
    assert a.session(b).previous is b.session(a).previous is None
    net.lose = lambda source, message: False
    start("smaller", a, b)
    assert chat(net, a, b, 4) == []
    assert a.session(b).current is not epoch
    assert exchange(net, a, b)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", [SETUP, ACK])
def test_a_session_whose_rekeys_never_complete_keeps_its_keys(kind: int, side: str) -> None:
    net, a, b = established()
    net.run(31)
    epoch = a.session(b).current
    FaultySessions(net, {kind: "all lost"})
    start(side, a, b)
    assert chat(net, a, b, 40) == []
    assert a.session(b).current is epoch
    net.lose = lambda source, message: False
    start(side, a, b)
    assert chat(net, a, b, 4) == []
    assert a.session(b).current is not epoch


@pytest.mark.parametrize("side", SIDES)
def test_stale_and_spoofed_session_messages_do_no_harm_at_any_moment(side: str) -> None:
    net, a, b = established()
    net.run(31)
    start(side, a, b)
    for _ in range(20):
        assert chat(net, a, b, 0.5) == []
        for node, other in ((a, b), (b, a)):
            for _destination, message in node.sent[-30:]:
                broken = bytearray(message)
                broken[-1] ^= 1
                flipped = bytes((message[0], message[1] ^ 2)) + message[2:]
                for copy in (message, bytes(broken), flipped):
                    other.receive(node.address, copy)
    assert chat(net, a, b, 4) == []
