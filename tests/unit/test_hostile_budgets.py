"""What one peer may make us do and remember, and what it cannot make us believe."""

from __future__ import annotations

from random import Random

import pytest

from meshnode.identity import Identity
from meshnode.ipv6.mss import MOST_PEERS, MssCeilings
from meshnode.mesh.coordinates import MAX_LENGTH, PATH_SHARE, CoordinateCache
from meshnode.mesh.session import IdentityCache
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.session import SessionSetup
from meshnode.wire.tree import AncestryEntry, TreeAnnounce, declaration_bytes
from tests.unit.mesh_rig import WALL, MeshNet
from tests.unit.node_rig import MeshHost
from tests.unit.node_rig import MeshNet as NodeNet

DICE = Random(8)
TREE, FILTER = 0x10, 0x20


class Peers(MeshNet):
    """Node 1 between 0 and 2; messages of 0 and 2 are made up."""

    def __init__(self) -> None:
        super().__init__(3)
        self.link(0, 1)
        self.link(1, 2)
        self.victim = self.routers[1]
        self.sequence = 1 << 62

    def say(self, peer: int, kind: int, body: bytes) -> None:
        self.victim.message(self.address(peer), kind, body, self.now, WALL)

    def announce(self, peer: int, ancestors: list[bytes]) -> None:
        self.sequence += 1
        me = self.address(peer)
        parent = ancestors[0] if ancestors else me
        signature = self.identities[peer].sign(declaration_bytes(me, parent, self.sequence, 1), bytes(32))
        path = [AncestryEntry(address, self.sequence, 1) for address in (me, *ancestors)]
        self.say(peer, TREE, TreeAnnounce(self.sequence, 1, parent, path, signature).encode()[1:])

    def position(self, peer: int) -> list[bytes]:
        position = self.victim.neighbours[self.address(peer)].position
        return [] if position is None else position.coordinates


def test_announces_beyond_the_budget_are_not_even_verified() -> None:
    net = Peers()
    for _ in range(200):
        net.announce(2, [bytes(16)])
    assert net.victim.refused.announces >= 178
    net.announce(0, [])
    assert net.victim.refused.announces < 200


def test_a_peer_that_keeps_to_the_protocol_is_never_over_budget() -> None:
    net = Peers()
    before = net.victim.counters.tree.accepted
    for _ in range(240):
        net.announce(2, [bytes(15) + b"\1"])
        net.now += 0.5
    assert net.victim.refused.announces == 0
    assert net.victim.counters.tree.accepted - before == 240


def test_filters_have_a_budget() -> None:
    net = Peers()
    for sequence in range(100, 300):
        net.say(2, FILTER, FilterAnnounce(sequence, 5, 1, bytes(1024)).encode()[1:])
    assert net.victim.refused.filters >= 178


@pytest.mark.parametrize(
    ("mtus", "deepest"),
    [((1280, 1280), 34), ((1472, 1472), 40), ((1280, 1472), 40), ((1472, 1280), 40), ((65535, 1280), MAX_LENGTH - 1)],
)
def test_a_path_too_deep_to_hang_below_is_no_path(mtus: tuple[int, int], deepest: int) -> None:
    """Section 3.12: whoever hung below it could not announce itself on any of its links any more.

    Where the peer was before it is no longer, by its own word.
    """
    net = Peers()
    for peer, mtu in zip((0, 2), mtus, strict=True):
        net.victim.set_link_mtu(net.address(peer), mtu)
    for too_many in (deepest + 1, 2000):
        net.announce(2, [bytes(16)])
        assert net.position(2) == [net.address(2), bytes(16)]
        net.announce(2, [*(DICE.randbytes(16) for _ in range(too_many - 2)), bytes(16)])
        assert net.position(2) == []
    net.announce(2, [*(DICE.randbytes(16) for _ in range(deepest - 2)), bytes(16)])
    assert len(net.position(2)) == deepest
    assert len(net.victim.own_coordinates) == deepest + 1


def test_a_path_that_names_a_node_twice_is_no_path() -> None:
    net = Peers()
    net.announce(2, [DICE.randbytes(16)] * 2 + [bytes(16)])
    assert net.position(2) == []


def test_a_parent_that_moved_out_of_reach_is_left_and_an_older_word_of_it_is_not_believed_again() -> None:
    net = Peers()
    net.announce(2, [bytes(16)])
    assert net.victim.own_coordinates == [net.address(1), net.address(2), bytes(16)]
    sequence = net.sequence
    net.announce(2, [*(DICE.randbytes(16) for _ in range(200)), bytes(16)])
    assert net.victim.own_coordinates == [net.address(1), net.address(0)]
    net.sequence = sequence
    net.announce(2, [bytes(16)])
    assert net.position(2) == []
    net.sequence += 1
    net.announce(2, [bytes(16)])
    assert net.position(2) == [net.address(2), bytes(16)]


def test_without_another_way_up_a_node_whose_parent_moved_out_of_reach_is_root() -> None:
    net = Peers()
    net.victim.peer_down(net.address(0), net.now, WALL)
    net.announce(2, [bytes(16)])
    assert net.victim.tree.parent == net.address(2)
    net.announce(2, [*(DICE.randbytes(16) for _ in range(200)), bytes(16)])
    assert net.victim.tree.is_root


def test_places_that_one_peer_teaches_are_limited_and_those_of_others_are_not() -> None:
    net = Peers()
    router = net.victim
    for _ in range(3000):
        one, other = DICE.randbytes(16), DICE.randbytes(16)
        setup = SessionSetup([one, bytes(16)], [other, bytes(16)], bytes(33)).encode()
        router.warm(setup, 0, one, other, net.now, net.address(2))
    assert len(router.coordinate_cache) == 1000
    assert router.refused.places == 5000
    one, other = DICE.randbytes(16), DICE.randbytes(16)
    setup = SessionSetup([one, bytes(16)], [other, bytes(16)], bytes(33)).encode()
    router.warm(setup, 0, one, other, net.now, net.address(0))
    assert router.coordinates_for(one, net.now) == [one, bytes(16)]


def test_long_paths_use_up_the_room_of_many() -> None:
    cache = CoordinateCache(bytes(16), 1000, 300.0)
    for number in range(2000):
        owner = number.to_bytes(16, "big")
        cache.insert(owner, [owner, *(DICE.randbytes(16) for _ in range(MAX_LENGTH - 1))], 1.0)
    assert cache.addresses <= 1000 * PATH_SHARE + MAX_LENGTH
    assert cache.addresses == sum(len(entry.coordinates) for _, entry in cache.items())
    cache.remove(owner)
    cache.drop_foreign(bytes(16))
    assert (len(cache), cache.addresses) == (0, 0)


def test_signals_one_peer_provokes_do_not_use_up_those_others_need() -> None:
    net = Peers()
    router, target, payload = net.victim, DICE.randbytes(16), bytes(40)
    provoked = sum(
        router.routing_error(target, payload, 0, net.now, DICE.randbytes(16), net.address(2)) is not None
        for _ in range(500)
    )
    assert provoked == 50
    assert router.routing_error(target, payload, 0, net.now, DICE.randbytes(16), net.address(0)) is not None


def identities(count: int, seed: int = 1) -> list[Identity]:
    random = Random(seed)
    return [Identity.generate(random.randbytes) for _ in range(count)]


def test_a_rain_of_names_does_not_wash_out_who_is_talked_to_or_configured() -> None:
    cache = IdentityCache(40)
    configured, used, *rain = (identity.peer for identity in identities(200))
    cache.pin(configured, 0.0)
    cache.insert(used, 0.0)
    cache.lookup(used.node_addr, 0.0)
    for peer in rain:
        cache.insert(peer, 1.0)
    assert len(cache) == 41
    assert cache.peek_exact(configured.node_addr) == configured
    assert cache.peek_exact(used.node_addr) == used
    assert cache.peek_exact(rain[-1].node_addr) == rain[-1]


def test_even_if_everything_is_used_news_find_room() -> None:
    cache = IdentityCache(8)
    for peer in (identity.peer for identity in identities(30)):
        cache.insert(peer, 0.0)
        cache.lookup(peer.node_addr, 0.0)
    assert len(cache) <= 8
    cache.insert(peer := identities(1, seed=9)[0].peer, 1.0)
    assert peer.node_addr in cache


def test_names_that_are_only_looked_up_leave_no_alias() -> None:
    host = MeshHost(NodeNet(), "here", 1)
    for identity in identities(50):
        host.node.register(identity.peer)
    assert host.node.names.aliases == {}
    assert host.node.names.display(identity.node_addr) == identity.peer.short_npub


def test_remembered_segment_sizes_are_bounded() -> None:
    ceilings = MssCeilings(1472)
    for number in range(MOST_PEERS + 100):
        ceilings.set_path_mtu(b"\xfd" + number.to_bytes(15, "big"), 1300)
    assert len(ceilings._by_peer) == MOST_PEERS


def test_coordinates_in_forged_messages_do_not_replace_those_of_a_partner() -> None:
    """What comes for us teaches a place only if it is authentic, or if we know none."""
    net = NodeNet()
    left, right = net.host("left"), net.host("right")
    for host in (left, right):
        host.knows(left, right)
    left.start()
    right.start(left)
    net.run(1.0)
    left.send(right, b"hello")
    net.run(1.0)
    router, partner, now = left.node.router, right.identity.node_addr, net.clock.seconds()
    truth = router.coordinates_for(partner, now)
    lie = [partner, bytes(15) + b"\7", bytes(16)]
    for message in (
        SessionSetup(lie, [left.identity.node_addr], bytes(33)).encode(),
        b"\0\1\0\0" + bytes(8) + len(lie).to_bytes(2, "little") + b"".join(lie) + bytes(2) + bytes(40),
    ):
        router.warm(message, 0, partner, left.identity.node_addr, now, DICE.randbytes(16))
    assert truth is not None
    assert router.coordinates_for(partner, now) == truth
