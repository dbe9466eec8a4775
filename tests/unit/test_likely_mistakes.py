"""The likely mistakes of spec 03 section 17, one after the other: each test fails if we make the one it is about."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from struct import unpack
from typing import Any

import pytest
from coincurve import PublicKeyXOnly

from meshnode.identity import Identity
from meshnode.mesh.bloom import bit_positions, filter_of, member_mask
from meshnode.mesh.lookup import Asked
from meshnode.mesh.mmp import Measurement
from meshnode.mesh.next_hop import nearest_hop
from meshnode.mesh.settings import MeshSettings, MmpSettings, RekeySettings
from meshnode.transports.memory import LinkQuality
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.errors import WireError
from meshnode.wire.lookup import LookupRequest, LookupResponse
from meshnode.wire.reports import ReceiverReport, SenderReport
from meshnode.wire.signals import parse_signal
from meshnode.wire.tree import TreeAnnounce
from tests.unit.mesh_rig import VECTORS, WALL, addr, path
from tests.unit.node_rig import MeshNet
from tests.unit.router_rig import ADDRESSES, FILTER, NODES, TREE, Node, announce

REQUEST, RESPONSE = 0x30, 0x31


def filters_sent(node: Node) -> dict[int, FilterAnnounce]:
    """The last filter for each peer among what waits to be sent; drains it."""
    out, node.router.outbound = node.router.outbound, []
    return {ADDRESSES.index(to): FilterAnnounce.parse(m[1:]) for to, m in out if m[0] == FILTER}


def members(message: FilterAnnounce) -> set[int]:
    bits = int.from_bytes(message.bits, "little")
    return {n for n, address in enumerate(ADDRESSES) if bits & (mask := member_mask(address)) == mask}


def settled(me: int, *peers: int) -> Node:
    """A router whose first greetings are out and whose intervals have passed."""
    node = Node(me, list(peers))
    node.pass_time(1)
    node.said()
    return node


# 1


def test_a_signature_covers_the_sha256_of_48_bytes_and_nothing_else() -> None:
    """Section 3.2: no tag, no version, no ancestry; hashed once before BIP-340 signs it."""
    message = announce(5, 2, 0)
    signed = ADDRESSES[5] + ADDRESSES[2] + (1).to_bytes(8, "little") + (5).to_bytes(8, "little")
    assert len(signed) == 48
    assert message.signing_bytes() == signed
    key = PublicKeyXOnly(NODES[5].peer.xonly)
    assert key.verify(message.signature, sha256(signed).digest())
    longer = replace(message, ancestry=[*message.ancestry[:2], replace(message.ancestry[2], sequence=99)])
    assert longer.signing_bytes() == signed


# 2


def test_bits_count_from_the_lowest_and_wrap_at_64_bits_before_the_modulo() -> None:
    """Section 5.2: without the wrap-around the fourth and fifth position would be others."""
    item = bytes.fromhex("69e08d65cc3a6b9c2c2ac4bd405e4b0e")
    first, second = unpack("<QQ", sha256(item).digest()[:16])
    assert bit_positions(item) == [(first + i * second) % 2**64 % 8192 for i in range(5)]
    assert bit_positions(item) == [5680, 6670, 7660, 458, 1448]
    wire = filter_of([item]).to_bytes(1024, "little")
    assert {i: byte for i, byte in enumerate(wire) if byte} == {57: 4, 181: 1, 710: 1, 833: 0x40, 957: 0x10}


# 3


def test_numbers_are_little_endian_and_keys_are_hashed_without_their_sign() -> None:
    """Section 0: every count and sequence is little-endian; an address hashes the 32 bytes of the x-only key."""
    wire = announce(5, 2, 0, sequence=0x0102).encode()
    assert wire[2:10] == bytes((2, 1, 0, 0, 0, 0, 0, 0))
    assert wire[34:36] == bytes((3, 0))
    request = LookupRequest(0x0102, addr(1), addr(2), 3, 0, path([2, 0])).encode()
    assert (request[1:3], request[44:46]) == (bytes((2, 1)), bytes((2, 0)))
    identity = NODES[3]
    assert identity.node_addr == sha256(identity.peer.xonly).digest()[:16]
    assert len(identity.peer.xonly) == 32


# 4


def test_filters_hold_ourselves_and_what_is_behind_the_other_tree_peers() -> None:
    """Section 5.5: cross-links are never passed on, self never forgotten, nobody told what came from it."""
    node = settled(3, 1, 5, 6)
    node.hear(1, 0)
    node.hear(5, 3, 1, 0)
    node.hear(6, 0)
    for peer, behind in ((1, [0, 1, 2]), (5, [5]), (6, [6, 7])):
        node.hear_filter(peer, behind)
    node.pass_time(1)
    sent = {peer: members(message) for peer, message in filters_sent(node).items()}
    assert sent == {1: {3, 5}, 5: {0, 1, 2, 3}, 6: {0, 1, 2, 3, 5}}


# 5


def test_after_a_switch_everybody_gets_a_fresh_filter_that_does_not_overtake_the_announce() -> None:
    """Sections 3.7 and 5.6: unchanged content too, with a higher sequence, and after the announce that attaches us."""
    node = settled(3, 1, 5)
    node.pass_time(1)
    node.hear_filter(5, [5])
    before = node.router.filters.sequence
    node.hear(1, 0)
    node.pass_time(1)
    out = [(ADDRESSES.index(to), message) for to, message in node.router.outbound]
    for peer in (1, 5):
        kinds = [message[0] for to, message in out if to == peer]
        assert kinds.index(TREE) < kinds.index(FILTER)
        last = [m for to, m in out if to == peer and m[0] == FILTER][-1]
        assert FilterAnnounce.parse(last[1:]).sequence > before


def test_a_filter_waits_while_the_announce_before_it_is_held_by_its_interval() -> None:
    """Section 5.6: the order hazard."""
    node = Node(3, [1])
    node.pass_time(0.1)
    node.said()
    node.hear(1, 0)
    assert node.router.neighbours[ADDRESSES[1]].announce.pending
    node.pass_time(0.1)
    assert FILTER not in [kind for _, kind in node.said()]
    node.pass_time(1)
    kinds = [kind for _, kind in node.said()]
    assert kinds.index(TREE) < kinds.index(FILTER)


# 6


@pytest.mark.parametrize("heard", [(5, 4), (5, 4, 3)], ids=["larger root", "root would be behind us"])
def test_no_path_is_announced_whose_root_is_larger_than_ourselves(heard: tuple[int, ...]) -> None:
    """Section 3.3: the last entry must be the smallest address, or everybody drops the announce."""
    node = settled(2, 5)
    node.hear(*heard)
    node.pass_time(1)
    assert node.router.tree.is_root
    announced = node.router.tree.announce()
    assert announced.ancestry_error() is None
    assert announced.parent == ADDRESSES[2]


# 7


def test_what_is_signed_is_what_is_announced_even_if_taking_a_parent_made_us_root() -> None:
    """Section 3.7: sign after recompute, because it may have changed the parent field."""
    node = settled(2, 5)
    node.hear(5, 4)
    node.router.tree.set_parent(ADDRESSES[5], node.now, WALL)
    message = TreeAnnounce.parse(node.router.tree.announce().encode()[1:])
    assert message.parent == ADDRESSES[2]
    assert NODES[2].peer.verify(message.signing_bytes(), message.signature)


# 8


def test_only_a_greater_sequence_is_newer_whatever_the_timestamp() -> None:
    """Section 3.4."""
    node = settled(3, 1)
    node.hear(1, 0, sequence=7)
    tree = node.router.counters.tree
    node.hear(1, sequence=7)
    assert (tree.accepted, tree.stale) == (1, 1)
    newer = announce(1, sequence=8)
    old_time = replace(newer, timestamp=0, ancestry=[replace(newer.ancestry[0], timestamp=0)])
    old_time.signature = NODES[1].sign(old_time.signing_bytes(), bytes(32))
    node.router.message(ADDRESSES[1], TREE, old_time.encode()[1:], node.now, WALL)
    assert (tree.accepted, tree.stale) == (2, 1)


# 9


def test_filter_sequences_grow_while_a_link_lives_and_start_over_with_a_new_one() -> None:
    """Sections 5.4, 5.6 and 3.11."""
    node = settled(3, 1)
    first = node.router.filters.sequence
    node.router.peer_up(NODES[1].peer, 1472, node.now, WALL)
    node.pass_time(1)
    assert filters_sent(node)[1].sequence > first
    node.hear_filter(1, [1], sequence=40)
    node.router.peer_down(ADDRESSES[1], node.now, WALL)
    node.up(1)
    node.hear_filter(1, [1], sequence=1)
    assert node.router.counters.bloom.accepted == 2


# 10


def test_whoever_is_heard_is_reported_to_with_its_own_timestamp() -> None:
    """Section 11.4: without reports, or with an echo of 0, neighbours never measure us."""
    measurement = Measurement("link", MmpSettings(), initiator=True, now=0.0)
    measurement.received(1, 4321, 100, ce=False, now=0.5)
    (message,) = measurement.reports_due(1.0)
    report = ReceiverReport.parse_link(message[1:])
    assert (report.timestamp_echo, report.dwell_time) == (4321, 500)


def test_neighbours_measure_each_other_and_prefer_whom_they_have_measured() -> None:
    """Sections 3.5 and 11.5, on two whole nodes."""
    net = pair()
    net.run(4)
    for host, other in (net.hosts, net.hosts[::-1]):
        assert host.node.links.peers[other.identity.node_addr].measurement.link_cost is not None


# 11


def test_round_trips_are_measured_in_session_time_which_restarts_at_every_rekey() -> None:
    """Section 11.2: with any other clock the figures are off by the age of the node or of the keys."""
    net = pair(MeshSettings(rekey=RekeySettings(after_secs=30)))
    net.clock.advance(1000)
    net.run(140, step=0.006)
    for host, other in (net.hosts, net.hosts[::-1]):
        peer = host.node.links.peers[other.identity.node_addr]
        assert peer.rekeys >= 2
        assert 20 <= (peer.measurement.srtt_ms or 0) <= 30


def pair(settings: MeshSettings | None = None) -> MeshNet:
    """Two nodes on a link with a round trip of 24 ms."""
    net = MeshNet(settings, LinkQuality(delay=(0.012, 0.012)))
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    return net


# 12


def test_reports_have_three_reserved_bytes_on_links_and_two_in_sessions() -> None:
    """Section 11.1."""
    sender = SenderReport(*range(1, 8))
    assert sender.encode_link()[:12] == bytes((1, 0, 0, 0)) + (1).to_bytes(8, "little")
    assert sender.encode_session()[:10] == bytes(2) + (1).to_bytes(8, "little")
    fields = VECTORS["mmp"]["receiver_report"]["fields"]
    receiver = ReceiverReport(**{name: fields[name] for name in fields})
    assert (len(receiver.encode_link()), len(receiver.encode_session())) == (68, 66)


# 13


def test_a_peer_as_far_as_ourselves_is_never_chosen() -> None:
    """Section 8: strict progress, for candidates by filter and along the tree alike."""
    mine, destination = path([3, 9, 0]), path([7, 9, 0])
    node = settled(4, 5, 6)
    node.hear(5, 1, 0)
    node.hear(6, 1, 0)
    node.hear_filter(5, [7])
    table = node.router.neighbours
    for peer, places in ((5, [2, 9, 0]), (6, [8, 9, 0])):
        neighbour = table[ADDRESSES[peer]]
        assert neighbour.position is not None
        neighbour.position = replace(neighbour.position, coordinates=path(places))
        neighbour.filter = filter_of([destination[0]])
    assert nearest_hop(mine, destination, table, lambda _: None) is None


# 14


def test_an_answer_we_relayed_no_request_for_is_ours_if_we_asked() -> None:
    """Section 7.5; stricter than it in that an old answer, replayed, moves nobody."""
    node = settled(3, 1)
    node.known[ADDRESSES[6]] = NODES[6].peer
    for request, accepted in ((78, 0), (77, 1)):
        node.router.lookups.asked = {request: Asked(ADDRESSES[6], node.now)}
        node.router.message(ADDRESSES[1], RESPONSE, answer(NODES[6], [6, 0]).encode()[1:], node.now, WALL)
        assert node.router.counters.lookup.resp_accepted == accepted
    assert node.router.coordinates_for(ADDRESSES[6], node.now) == [ADDRESSES[6], ADDRESSES[0]]


def answer(target: Identity, places: list[int], path_mtu: int = 1300) -> LookupResponse:
    response = LookupResponse(77, target.node_addr, path_mtu, [ADDRESSES[n] for n in places], b"")
    response.proof = target.sign(response.proof_bytes(), bytes(32))
    return response


# 15


def test_the_proof_holds_whatever_the_path_mtu_and_the_target_folds_its_own_link_in() -> None:
    """Sections 7.2 and 7.4."""
    response = answer(NODES[6], [6, 0])
    narrower = replace(response, path_mtu=600)
    assert narrower.proof_bytes() == response.proof_bytes()
    node = settled(3, 1)
    node.router.set_link_mtu(ADDRESSES[1], 1280)
    sent = ask(node, peer=1, target=3)
    assert [message.path_mtu for message in sent] == [1280]
    assert NODES[3].peer.verify(sent[0].proof_bytes(), sent[0].proof)


def ask(node: Node, peer: int, target: int) -> list[LookupResponse]:
    """Let a peer send a request; the answers that come of it."""
    request = LookupRequest(5, ADDRESSES[target], ADDRESSES[7], 9, 0, [ADDRESSES[7], ADDRESSES[0]])
    node.router.message(ADDRESSES[peer], REQUEST, request.encode()[1:], node.now, WALL)
    out, node.router.outbound = node.router.outbound, []
    return [LookupResponse.parse(message[1:]) for _, message in out if message[0] == RESPONSE]


# 16


def test_a_neighbours_coordinates_are_not_ours_to_give() -> None:
    """Section 7.4: only the target answers, even when its neighbour knows exactly where it is."""
    node = settled(3, 1, 5)
    node.hear(5, 3, 1, 0)
    node.hear_filter(5, [5])
    request = LookupRequest(5, ADDRESSES[5], ADDRESSES[7], 9, 0, [ADDRESSES[7], ADDRESSES[0]])
    node.router.message(ADDRESSES[1], REQUEST, request.encode()[1:], node.now, WALL)
    assert node.said() == [(5, REQUEST)]


# 17


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (TreeAnnounce, announce(5, 2, 0).encode()),
        (LookupRequest, LookupRequest(5, ADDRESSES[5], ADDRESSES[7], 9, 0, [ADDRESSES[7]]).encode()),
        (LookupResponse, answer(NODES[6], [6, 0]).encode()),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_trailing_bytes_are_ignored(kind: Any, message: bytes) -> None:
    """Section 2."""
    assert kind.parse(message[1:] + b"more") == kind.parse(message[1:])


def test_trailing_bytes_are_ignored_in_reports_and_signals() -> None:
    """Section 2."""
    report = SenderReport(*range(1, 8))
    assert SenderReport.parse_link(report.encode_link()[1:] + b"more") == report
    for name in ("coords_required", "path_broken_with_coords", "mtu_exceeded"):
        wire = bytes.fromhex(VECTORS["signals_and_datagrams"][name]["fsp_payload"])[4:]
        assert parse_signal(wire + b"more") == parse_signal(wire)


def test_trailing_bytes_spoil_a_filter() -> None:
    """Sections 2 and 5.4: its length must match exactly."""
    wire = FilterAnnounce(1, 5, 1, bytes(1024)).encode()[1:]
    FilterAnnounce.parse(wire)
    for wrong in (wire + b"x", wire[:-1]):
        with pytest.raises(WireError):
            FilterAnnounce.parse(wrong)
