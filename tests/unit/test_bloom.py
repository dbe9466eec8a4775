"""Filters: bits on the wire, derived numbers, what is sent to whom."""

from __future__ import annotations

from hashlib import sha256
from struct import unpack
from typing import Any

import pytest

from meshnode.identity import PeerIdentity
from meshnode.mesh.bloom import (
    LARGE_AFTER_SECS,
    FilterExchange,
    bit_positions,
    estimated_members,
    false_positive_rate,
    filter_of,
    member_mask,
    power,
)
from meshnode.mesh.neighbour import Neighbour, Neighbours, Position, Refusals
from meshnode.mesh.settings import BloomSettings
from meshnode.wire.bloom import FilterAnnounce
from tests.unit.mesh_rig import VECTORS, addr, identity

BLOOM = VECTORS["bloom"]
ME = addr(VECTORS["identities"]["A"]["node_addr"])


class Peer(PeerIdentity):
    """A peer at an address of the test's choice."""

    __slots__ = ()

    def __init__(self, node_addr: bytes) -> None:
        super().__init__(identity(1).peer.xonly)
        object.__setattr__(self, "node_addr", node_addr)


class Exchange:
    """A FilterExchange with a few peers, of which the named ones are tree peers."""

    def __init__(self, peers: list[bytes], tree_peers: list[bytes], **settings: Any) -> None:
        self.sent: list[tuple[bytes, FilterAnnounce]] = []
        self.held_back: set[bytes] = set()
        self.refused = Refusals()
        self.neighbours: Neighbours = {a: Neighbour(Peer(a), 1472) for a in peers}
        self.filters = FilterExchange(
            ME,
            BloomSettings(**settings),
            self.neighbours,
            lambda address: address in tree_peers,
            lambda neighbour: neighbour.address in self.held_back,
            lambda peer, message: self.sent.append((peer, FilterAnnounce.parse(message[1:]))),
            self.refused,
        )

    def child(self, peer: bytes) -> None:
        self.neighbours[peer].position = Position(1, 0, ME, [], [peer, ME])

    def receive(self, peer: bytes, bits: int, sequence: int = 1, hash_count: int = 5) -> bool:
        body = FilterAnnounce(sequence, hash_count, 1, bits.to_bytes(1024, "little")).encode()[1:]
        return self.filters.receive(peer, body, 0.0)

    def marked(self) -> list[bytes]:
        return [address for address, n in self.neighbours.items() if n.filter_announce.pending]


def numbered(first: int, count: int) -> int:
    """A filter of so many nodes."""
    return filter_of(n.to_bytes(16, "big") for n in range(first, first + count))


@pytest.mark.parametrize("vector", BLOOM["bit_positions"], ids=lambda v: v["node_addr"][:8])
def test_bit_positions(vector: dict[str, Any]) -> None:
    assert bit_positions(addr(vector["node_addr"])) == vector["bits_m8192_k5"]


@pytest.mark.parametrize("vector", BLOOM["filters"], ids=lambda v: v["note"])
def test_filters_and_their_figures(vector: dict[str, Any]) -> None:
    bits = filter_of(addr(member) for member in vector["members"])
    content = bits.to_bytes(1024, "little")
    assert bits.bit_count() == vector["set_bits"]
    assert sha256(content).hexdigest() == vector["filter_sha256"]
    assert false_positive_rate(bits) == vector["fpr"]
    assert estimated_members(bits) == pytest.approx(vector["estimated_count"], rel=1e-12)
    message = FilterAnnounce(vector["announce_sequence"], 5, 1, content).encode()
    assert sha256(message).hexdigest() == vector["announce_sha256"]


@pytest.mark.parametrize("vector", BLOOM["fpr_boundary"], ids=lambda v: str(v["set_bits"]))
def test_the_cap_on_the_false_positive_rate(vector: dict[str, Any]) -> None:
    """Spec 03, section 5.3."""
    bits = (1 << 8 * vector["leading_0xff_bytes"]) - 1
    assert false_positive_rate(bits) == vector["fpr_k5"]
    for cap, key in ((0.05, "accepted_at_0_05"), (0.10, "accepted_at_0_10"), (0.20, "accepted_at_0_20")):
        exchange = Exchange([addr(1)], [], max_inbound_fpr=cap)
        assert exchange.receive(addr(1), bits) is vector[key]
        assert exchange.filters.counters.fill_exceeded == int(not vector[key])
        assert (estimated_members(bits, cap) is not None) is vector[key]
    if vector["estimate_uncapped"] is not None:
        assert estimated_members(bits) == pytest.approx(vector["estimate_uncapped"], rel=1e-12)


@pytest.mark.parametrize("vector", BLOOM["powi_f64_bits"], ids=lambda v: f"{v['base']}^{v['exp']}")
def test_powers_are_the_same_double_everywhere(vector: dict[str, Any]) -> None:
    assert power(vector["base"], vector["exp"]) == unpack("<d", int(vector["f64_bits"]).to_bytes(8, "little"))[0]


def test_split_horizon_and_tree_peers_only() -> None:
    vector = BLOOM["outgoing"][0] if isinstance(BLOOM["outgoing"], list) else BLOOM["outgoing"]
    inbound = {addr(peer): [addr(m) for m in members] for peer, members in vector["tree_peer_inbound"].items()}
    cross = addr(vector["non_tree_peer"])
    exchange = Exchange([*inbound, cross], list(inbound))
    for peer, members in inbound.items():
        exchange.receive(peer, filter_of(members))
    exchange.receive(cross, filter_of([addr(77)]))
    for expected in vector["per_target"]:
        bits = exchange.filters.outgoing()[addr(expected["target"])]
        assert bits == filter_of(addr(member) for member in expected["members"])
        assert sha256(bits.to_bytes(1024, "little")).hexdigest() == expected["filter_sha256"]


def test_of_children_that_claim_too_much_together_the_small_ones_are_passed_on() -> None:
    exchange = Exchange([addr(n) for n in range(1, 5)], [addr(n) for n in range(1, 4)])
    greedy = member_mask(addr(2)) | ((1 << 5900) - 1)
    honest = [filter_of(map(addr, members)) for members in ((1, 11, 12), (3, *range(20, 60)))]
    for number, claim in enumerate((honest[0], greedy, honest[1]), 1):
        exchange.child(addr(number))
        assert exchange.receive(addr(number), claim)
    outgoing = exchange.filters.outgoing()
    assert outgoing[addr(4)] == filter_of([ME, addr(2)]) | honest[0] | honest[1]
    assert outgoing[addr(2)] == member_mask(ME) | honest[0] | honest[1]


def test_a_mesh_that_is_too_large_for_filters_is_told_as_it_is() -> None:
    """Whoever refuses that keeps the last one that was not too full, which is more than the rest of this one."""
    exchange = Exchange([addr(n) for n in range(1, 4)], [addr(1), addr(2)])
    claims = [filter_of(n.to_bytes(16, "big") for n in members) for members in (range(2000), range(5000, 5900))]
    for number, claim in enumerate(claims, 1):
        assert exchange.receive(addr(number), claim)
    exchange.child(addr(2))
    assert exchange.filters.outgoing()[addr(3)] == member_mask(ME) | claims[0] | claims[1]


def test_what_children_claimed_while_that_was_little_stays_when_it_becomes_too_much() -> None:
    """A liar below one of them, or several liars that each claim less than an honest one, erase nobody."""
    children = [addr(n) for n in range(1, 10)]
    exchange = Exchange([*children, addr(20)], children)
    honest = member_mask(children[0]) | numbered(1000, 400)
    for child in children:
        exchange.child(child)
    assert exchange.receive(children[0], honest)
    exchange.filters.mark_all()
    exchange.filters.flush(1.0)
    for number, liar in enumerate(children[1:]):
        assert exchange.receive(liar, numbered(2000 + 399 * number, 399))
    exchange.filters.mark_all()
    exchange.filters.flush(2.0)
    told = exchange.filters.outgoing()[addr(20)]
    assert told & honest == honest
    assert false_positive_rate(told) <= 0.2


def test_a_child_that_rose_in_steps_leaves_room_for_newcomers() -> None:
    exchange = Exchange([addr(n) for n in range(1, 4)], [addr(1), addr(2)])
    exchange.child(addr(1))
    exchange.child(addr(2))
    newcomers = member_mask(addr(2)) | numbered(0, 100)
    for step, claim in enumerate((900, 1500, 2050)):
        assert exchange.receive(addr(1), numbered(5000, claim), step + 1)
        exchange.filters.mark_all()
        exchange.filters.flush(float(step))
    exchange.receive(addr(2), newcomers)
    told = exchange.filters.outgoing()[addr(3)]
    assert told & newcomers == newcomers
    assert false_positive_rate(told) <= 0.2


def test_a_mesh_that_was_large_for_an_hour_is_told_as_it_is() -> None:
    """Two honest children may be what there is too much of, and whoever knows them is to keep what is known."""
    exchange = Exchange([addr(n) for n in range(1, 4)], [addr(1), addr(2)])
    for number, count in ((1, 900), (2, 1000)):
        exchange.child(addr(number))
        assert exchange.receive(addr(number), numbered(5000 * number, count))
    for now in (0.0, LARGE_AFTER_SECS):
        exchange.filters.mark_all()
        exchange.filters.flush(now)
    for number in (1, 2):
        assert exchange.receive(addr(number), numbered(5000 * number, 1100), 2)
    for now in (LARGE_AFTER_SECS + 1.0, 3 * LARGE_AFTER_SECS):
        exchange.filters.mark_all()
        exchange.filters.flush(now)
        assert exchange.sent[-1][0] == addr(3)
        told = int.from_bytes(exchange.sent[-1][1].bits, "little")
        assert told == member_mask(ME) | numbered(5000, 1100) | numbered(10000, 1100)


def test_mesh_size_counts_the_union_once() -> None:
    """Spec 03, section 5.7."""
    vector = BLOOM["mesh_size"][0] if isinstance(BLOOM["mesh_size"], list) else BLOOM["mesh_size"]
    exchange = Exchange([addr(1), addr(2)], [])
    assert exchange.filters.mesh_size() is None
    exchange.receive(addr(1), filter_of(addr(member) for member in vector["peer_a"]))
    exchange.receive(addr(2), filter_of(addr(member) for member in vector["peer_b"]))
    assert exchange.filters.mesh_size() == vector["rounded"]


def test_a_union_too_full_to_count_gives_no_size() -> None:
    exchange = Exchange([addr(1), addr(2)], [])
    exchange.receive(addr(1), (1 << 5000) - 1)
    exchange.receive(addr(2), ((1 << 5000) - 1) << 3192)
    assert exchange.filters.mesh_size() is None


@pytest.mark.parametrize("body", [b"", bytes(1034), bytes(8) + b"\x05\x01" + bytes(1025)])
def test_malformed_announces_are_counted(body: bytes) -> None:
    exchange = Exchange([addr(1)], [])
    assert not exchange.filters.receive(addr(1), body, 0.0)
    assert exchange.filters.counters.decode_error == 1


def test_other_hash_counts_are_refused() -> None:
    """A nearly full filter would pass the cap if its own hash count were believed."""
    exchange = Exchange([addr(1)], [])
    assert not exchange.receive(addr(1), filter_of([addr(7)]), hash_count=255)
    assert exchange.filters.counters.invalid == 1


def test_strangers_and_old_sequences_are_refused() -> None:
    exchange = Exchange([addr(1)], [])
    assert not exchange.receive(addr(2), 1)
    assert exchange.receive(addr(1), 1, sequence=5)
    assert not exchange.receive(addr(1), 2, sequence=5)
    assert exchange.receive(addr(1), 2, sequence=6)
    counters = exchange.filters.counters
    assert (counters.unknown_peer, counters.stale, counters.accepted) == (1, 1, 2)


def test_a_refused_filter_leaves_the_old_one_and_its_sequence() -> None:
    """Spec 03, section 5.4."""
    exchange = Exchange([addr(1)], [])
    exchange.receive(addr(1), 1, sequence=1)
    assert not exchange.receive(addr(1), (1 << 8192) - 1, sequence=2)
    assert exchange.neighbours[addr(1)].filter == 1
    assert exchange.receive(addr(1), 3, sequence=2)


def test_sequences_grow_across_peers_and_intervals_hold_per_peer() -> None:
    exchange = Exchange([addr(1), addr(2)], [])
    exchange.filters.mark_all()
    exchange.filters.flush(0.0)
    assert [(peer, message.sequence) for peer, message in exchange.sent] == [(addr(1), 1), (addr(2), 2)]
    assert exchange.filters.next_deadline() is None
    exchange.filters.mark_all()
    exchange.filters.flush(0.499)
    assert len(exchange.sent) == 2
    assert exchange.filters.counters.debounce_suppressed == 2
    assert exchange.filters.next_deadline() == 0.5
    exchange.filters.flush(0.5)
    assert exchange.sent[-1][1].sequence == 4


def test_only_peers_whose_filter_changed_are_marked() -> None:
    exchange = Exchange([addr(1), addr(2), addr(3)], [addr(1)])
    exchange.filters.mark_all()
    exchange.filters.flush(0.0)
    exchange.receive(addr(1), member_mask(addr(9)))
    exchange.filters.mark_changed(excluded=addr(2))
    assert exchange.marked() == [addr(3)]


def test_a_cross_links_filter_changes_nothing_for_others() -> None:
    exchange = Exchange([addr(1), addr(2)], [])
    exchange.filters.mark_all()
    exchange.filters.flush(0.0)
    exchange.receive(addr(1), member_mask(addr(9)))
    exchange.filters.mark_changed(excluded=addr(1))
    assert exchange.marked() == []


def test_a_filter_waits_for_the_announce_before_it() -> None:
    exchange = Exchange([addr(1)], [])
    exchange.held_back.add(addr(1))
    exchange.filters.mark_all()
    exchange.filters.flush(10.0)
    assert exchange.sent == []
    assert exchange.filters.next_deadline() is None
    exchange.held_back.clear()
    exchange.filters.flush(10.0)
    assert len(exchange.sent) == 1


def test_a_link_too_narrow_for_filters_is_left_alone() -> None:
    exchange = Exchange([addr(1)], [])
    exchange.neighbours[addr(1)].link_mtu = 1070
    exchange.filters.mark_all()
    exchange.filters.flush(0.0)
    assert exchange.sent == []
    assert exchange.filters.counters.send_failed == 1
    assert exchange.filters.next_deadline() is None
