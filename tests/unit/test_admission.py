"""The access control list at the doors of a node: dials, answers, newcomers, and those who are inside already."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from meshnode.identity import PeerIdentity
from meshnode.mesh.link import DialDenied, DialFailed, LinkLayer, Path, PeerDown
from meshnode.mesh.link.admission import DENIED
from meshnode.node.peering import DialError, PeerAddress, PeerConfig
from tests.unit.link_rig import LinkHost, LinkNet, deterministic_entropy
from tests.unit.node_rig import MeshHost, MeshNet


class Door:
    """An `Admission` whose list the test changes (`denied` holds NodeAddrs)."""

    def __init__(self) -> None:
        self.denied: set[bytes] = set()
        self.asked: list[tuple[str, Path]] = []
        self._changed = False

    def admit(self, identity: PeerIdentity, context: str, path: Path) -> bool:
        self.asked.append((context, path))
        return identity.node_addr not in self.denied

    def deny(self, *peers: PeerIdentity) -> None:
        self.denied = {peer.node_addr for peer in peers}
        self._changed = True

    def refresh(self) -> bool:
        changed, self._changed = self._changed, False
        return changed

    def status(self) -> Mapping[str, Any]:
        return {}


class GuardedHost(LinkHost):
    """A link layer with a door."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name, seed)
        self.door = Door()
        entropy = deterministic_entropy(seed)
        self.layer = LinkLayer(
            self.identity, entropy(8), self.settings, entropy, Random(seed), 0.0, admit=self.door.admit
        )


class Links:
    """A guarded host and somebody who wants in."""

    def __init__(self) -> None:
        self.guard, self.guest = GuardedHost("guard", 1), LinkHost("guest", 2)
        self.net = LinkNet(self.guard, self.guest)

    @property
    def state(self) -> tuple[int, int, int, int]:
        """How much the guard remembers: peers, candidates, epochs, handshakes."""
        table = self.guard.layer._table
        return len(table.peers), len(table.candidates), len(table.epochs), len(table.handshakes)


@pytest.fixture
def links() -> Links:
    return Links()


def test_a_denied_first_message_is_not_answered_and_leaves_nothing_behind(links: Links) -> None:
    links.guard.door.deny(links.guest.identity.peer)
    links.net.dial(links.guest, links.guard)
    links.net.run(20)
    assert [source for source, _, _ in links.net.log] == ["guest"] * len(links.net.log)
    assert links.state == (0, 0, 0, 0)
    assert links.guard.door.asked == [("inbound_handshake", (1, "guest"))]


def test_copies_of_a_denied_first_message_are_counted_without_being_read(links: Links) -> None:
    links.guard.door.deny(links.guest.identity.peer)
    links.net.dial(links.guest, links.guard)
    links.net.run(20)
    sent = len(links.net.log)
    assert sent > 2
    assert links.guard.layer.counters.acl_denied == sent
    assert len(links.guard.door.asked) == 1


def test_attack_a_denied_node_that_floods_first_messages_grows_nothing(links: Links) -> None:
    """Fresh messages from many addresses: no answer, no state, and what is remembered of them is bounded."""
    links.guard.door.deny(links.guest.identity.peer)
    frames = []
    for number in range(1500):
        links.guest.layer.dial(links.guard.identity.peer, (1, f"way-{number}"), links.net.now)
        frames += [frame for _, frame in links.guest.layer.drain_outbound()]
        links.guest.layer.cancel_dials(links.guard.identity.peer)
    for number, frame in enumerate(frames):
        links.net.now += 0.1
        links.net.inject(f"way-{number}", links.guard, frame)
    assert links.guard.layer.drain_outbound() == []
    assert links.state == (0, 0, 0, 0)
    assert len(links.guard.layer._responder._denied) <= 1024
    assert links.guard.layer.counters.acl_denied == 1500


def test_who_is_welcome_again_gets_in_with_the_message_that_was_denied(links: Links) -> None:
    links.guard.door.deny(links.guest.identity.peer)
    links.net.dial(links.guest, links.guard)
    links.net.run(3)
    links.guard.door.deny()
    links.guard.layer.review_admissions(links.net.now)
    links.net.run(8)
    assert links.state[0] == 1


def test_a_denied_node_is_not_dialled(links: Links) -> None:
    links.guard.door.deny(links.guest.identity.peer)
    with pytest.raises(DialDenied, match=DENIED):
        links.net.dial(links.guard, links.guest)
    assert links.guard.layer.drain_outbound() == []


def test_an_answer_that_comes_after_the_list_changed_makes_no_peer(links: Links) -> None:
    links.net.dial(links.guard, links.guest)
    links.guard.door.deny(links.guest.identity.peer)
    links.net.settle()
    assert links.state == (0, 0, 0, 0)
    assert [event.reason for event in links.guard.events if isinstance(event, DialFailed)] == [DENIED]


def test_a_dial_under_way_ends_when_the_list_changes(links: Links) -> None:
    links.net.dial(links.guard, links.guest)
    links.guard.door.deny(links.guest.identity.peer)
    links.guard.layer.review_admissions(links.net.now)
    links.net.settle()
    assert links.state == (0, 0, 0, 0)


def test_an_established_peer_is_told_and_dropped(links: Links) -> None:
    links.net.dial(links.guest, links.guard)
    links.net.run(2)
    assert links.state[0] == 1
    links.guard.door.deny(links.guest.identity.peer)
    links.guard.layer.review_admissions(links.net.now)
    links.net.settle()
    assert links.state == (0, 0, 0, 0)
    (ours,) = [event for event in links.guard.events if isinstance(event, PeerDown)]
    (theirs,) = [event for event in links.guest.events if isinstance(event, PeerDown)]
    assert ours.reason == DENIED
    assert theirs.reason == "disconnected by peer (security_violation)"


def test_a_newcomer_not_yet_proved_is_forgotten_when_the_list_changes(links: Links) -> None:
    links.net.wire = lambda source, target, frame: [] if target == "guest" else [frame]
    links.net.dial(links.guest, links.guard)
    links.net.settle()
    assert links.state[1] == 1
    links.guard.door.deny(links.guest.identity.peer)
    links.guard.layer.review_admissions(links.net.now)
    assert links.state == (0, 0, 0, 0)


def test_a_peer_in_the_midst_of_a_rekey_is_dropped_whole(links: Links) -> None:
    links.net.dial(links.guard, links.guest)
    links.net.run(40)
    links.net.wire = lambda source, target, frame: []
    links.guard.layer._initiator.rekey(links.guard.peer(links.guest), links.net.now)
    links.guard.door.deny(links.guest.identity.peer)
    links.guard.layer.review_admissions(links.net.now)
    assert links.state == (0, 0, 0, 0)


# -- whole nodes


class Mesh:
    """a, with a door, and b; a knows b."""

    def __init__(self) -> None:
        self.net = MeshNet()
        self.door = Door()
        self.a = self.net.host("a", admission=self.door)
        self.b = self.net.host("b")

    def is_connected(self, host: MeshHost) -> bool:
        return bool(host.node.links.peers)


def test_a_configured_peer_that_is_denied_is_dialled_as_soon_as_it_is_welcome() -> None:
    mesh = Mesh()
    mesh.door.deny(mesh.b.identity.peer)
    mesh.b.start()
    mesh.a.start(mesh.b)
    mesh.net.run(60)
    assert not mesh.is_connected(mesh.a)
    assert any(DENIED in text for _, text in mesh.a.log)
    mesh.door.deny()
    mesh.net.run(3)
    assert mesh.is_connected(mesh.a)


def test_a_found_peer_that_is_denied_is_not_dialled_before_it_is_welcome() -> None:
    mesh = Mesh()
    mesh.door.deny(mesh.b.identity.peer)
    heard: list[bytes] = []
    hear = mesh.b.node.frames_received
    mesh.b.node.frames_received = lambda *said: (heard.extend(said[2]), hear(*said))[1]  # type: ignore[method-assign]
    for host in (mesh.a, mesh.b):
        host.start()
    found = mesh.b.identity.peer, [PeerAddress("memory", "b")]
    mesh.a.node.run(lambda now: mesh.a.node.peering.candidates_found("lan", *found, now, lifetime=1000))
    mesh.net.run(60)
    assert heard == []
    assert not mesh.is_connected(mesh.a)
    mesh.door.deny()
    mesh.net.run(3)
    assert mesh.is_connected(mesh.a)
    assert heard


def test_an_established_peer_is_gone_within_two_seconds_and_stays_away() -> None:
    mesh = Mesh()
    mesh.b.start(mesh.a)
    mesh.a.start()
    mesh.net.run(3)
    assert mesh.is_connected(mesh.a)
    mesh.door.deny(mesh.b.identity.peer)
    mesh.net.run(2)
    assert not mesh.is_connected(mesh.a)
    mesh.net.run(90)
    assert not mesh.is_connected(mesh.a)
    assert not mesh.is_connected(mesh.b)


def test_a_denied_peer_is_refused_by_a_connect_on_request_with_the_reason() -> None:
    mesh = Mesh()
    mesh.door.deny(mesh.b.identity.peer)
    mesh.a.start()
    addresses = [PeerAddress("memory", "b"), PeerAddress("memory", "elsewhere")]
    with pytest.raises(DialError, match=f"^{DENIED}$"):
        mesh.a.node.connect(PeerConfig(mesh.b.identity.peer, addresses))
    assert len(mesh.door.asked) == 1
