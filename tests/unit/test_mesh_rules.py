"""Rules of spec 03 that no other module tests; and every section with rules has a test that names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.mesh.bloom import filter_of
from meshnode.mesh.coordinates import Coordinates
from meshnode.mesh.settings import BloomSettings, LookupSettings
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.lookup import LookupRequest, LookupResponse
from meshnode.wire.signals import PathBroken
from tests.unit.mesh_rig import MeshNet, addr
from tests.unit.node_rig import MeshNet as NodeNet
from tests.unit.router_rig import ADDRESSES, FILTER, NODES, TREE, Node

SECTIONS = (
    *("0", "2"),
    *(f"3.{n}" for n in range(1, 13)),
    "4",
    *(f"5.{n}" for n in range(1, 8)),
    *(f"6.{n}" for n in range(1, 4)),
    *(f"7.{n}" for n in range(1, 7)),
    "8",
    *(f"9.{n}" for n in range(1, 5)),
    *(f"10.{n}" for n in range(1, 5)),
    *(f"11.{n}" for n in range(1, 10)),
)
"""Those that hold rules for nodes; the probe of section 12 is optional, and 13 to 18 are tables and sources."""

_NAMED = re.compile(r"[Ss]ections? ((?:\d+(?:\.\d+)?(?:, | and | to )?)+)")


def named() -> Iterator[str]:
    """The sections that tests of spec 03 name in what they say about themselves."""
    for file in Path(__file__).parent.glob("test_*.py"):
        text = file.read_text()
        if "pec 03" not in text:
            continue
        for item in ast.walk(ast.parse(text)):
            if isinstance(item, ast.FunctionDef) and item.name.startswith("test_"):
                for match in _NAMED.finditer(ast.get_docstring(item) or ""):
                    yield from _numbers(match[1])


def _numbers(text: str) -> Iterator[str]:
    """The sections in "3.1", "3.1 and 4", "3.1 to 3.3"."""
    for part in re.split(r", | and ", text.strip()):
        first, _, last = part.strip(" .").partition(" to ")
        yield first
        if last:
            chapter, begin = first.split(".")
            yield from (f"{chapter}.{n}" for n in range(int(begin) + 1, int(last.split(".")[1]) + 1))


def test_every_section_with_rules_has_a_test_that_names_it() -> None:
    assert sorted(set(SECTIONS) - set(named())) == []


# Messages


@pytest.mark.parametrize("plaintext", [b"\x7f", b"\x7fwhatever", b"\x02short"])
def test_what_means_nothing_is_ignored_and_still_a_sign_of_life(plaintext: bytes) -> None:
    """Section 2: an unknown type counts for liveness and measurement; nothing at all does not (spec 01, 5.2)."""
    received, heard, refused = after_sending(plaintext)
    assert (received, refused) == (after_sending(None)[0] + 1, 0)
    assert heard > after_sending(None)[1]


def after_sending(plaintext: bytes | None) -> tuple[int, float, int]:
    """Frames received, when the last one was, and frames refused, at a node whose only peer sent this."""
    net = NodeNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(2)
    net.clock.advance(0.01)
    sender = a.node.links.peers[b.identity.node_addr]
    if plaintext is not None:
        a.node.run(lambda now: a.node.links.send(sender, plaintext, now))
    net.clock.advance(0.004)
    receiver = b.node.links.peers[a.identity.node_addr]
    return receiver.packets_recv, receiver.last_heard, b.node.links.counters.decrypt_failed


# Tree


def test_a_repeated_announce_is_not_answered_even_from_a_worse_root() -> None:
    """Sections 3.9 and 3.10: nothing is sent in answer to stale announces."""
    node = Node(0, [5])
    node.hear(5, sequence=4)
    node.pass_time(1)
    node.said()
    node.hear(5, sequence=4)
    node.pass_time(1)
    assert (node.router.counters.tree.stale, node.said()) == (1, [])


def test_announces_to_one_peer_keep_their_distance_and_tell_the_latest() -> None:
    """Section 3.10: what changed while waiting is told in one message, made when it leaves."""
    node = Node(4, [1, 2])
    node.said()
    node.hear(2)
    node.hear(1, 0)
    node.pass_time(0.4)
    assert node.said() == []
    node.pass_time(0.2)
    announces = [peer for peer, kind in node.said() if kind == TREE]
    assert sorted(announces) == [1, 2]
    assert node.router.tree.root == ADDRESSES[0]


def test_whoever_follows_its_parent_counts_its_own_declarations_on() -> None:
    """Section 3.7: a parent that announces again raises our sequence, told or not."""
    node = Node(4, [1])
    node.hear(1, 0)
    sequence = node.router.tree.sequence
    node.hear(1, 0, sequence=2)
    assert node.router.tree.sequence == sequence + 1


# Filters


def test_the_first_filter_has_sequence_1_and_all_peers_share_the_count() -> None:
    """Section 5.6."""
    node = Node(3, [1, 5])
    node.pass_time(1)
    out, node.router.outbound = node.router.outbound, []
    assert [FilterAnnounce.parse(m[1:]).sequence for _, m in out if m[0] == FILTER] == [1, 2]


def test_a_filter_stays_until_it_is_replaced() -> None:
    """Section 5.4: it has no time to live."""
    node = Node(3, [1])
    node.hear_filter(1, [1, 6])
    for _ in range(3):
        node.now += 86400
        node.router.tick(node.now, node.now)
    assert node.router.neighbours[ADDRESSES[1]].filter == filter_of([ADDRESSES[1], ADDRESSES[6]])


def test_a_cap_of_one_refuses_nothing() -> None:
    """Section 5.4: the cap is not range-checked."""
    node = Node(3, [1], bloom=BloomSettings(max_inbound_fpr=1.0))
    body = FilterAnnounce(1, 5, 1, b"\xff" * 1024).encode()[1:]
    node.router.message(ADDRESSES[1], FILTER, body, node.now, 0.0)
    assert node.router.counters.bloom.accepted == 1
    assert node.router.filters.mesh_size() is None


# Coordinates


def test_coordinates_come_from_sessions_and_answers_and_from_nowhere_else() -> None:
    """Section 6.2: not from announces, nor from requests and answers passing through, nor from error signals."""
    node = Node(3, [1, 5])
    node.hear(1, 0)
    node.hear(5, 3, 1, 0)
    node.hear_filter(5, [6])
    request = LookupRequest(9, ADDRESSES[6], ADDRESSES[7], 9, 0, [ADDRESSES[7], ADDRESSES[1]])
    node.router.message(ADDRESSES[1], 0x30, request.encode()[1:], node.now, 0.0)
    node.router.message(ADDRESSES[5], 0x31, _answer([ADDRESSES[6], ADDRESSES[5]]).encode()[1:], node.now, 0.0)
    assert node.router.counters.lookup.resp_forwarded == 1
    signal = PathBroken(ADDRESSES[6], ADDRESSES[5], [ADDRESSES[6], ADDRESSES[0]]).encode()
    assert node.router.warm(signal, 0, ADDRESSES[5], ADDRESSES[7], node.now)
    assert len(node.router.coordinate_cache) == 0


def _answer(coordinates: Coordinates) -> LookupResponse:
    response = LookupResponse(9, ADDRESSES[6], 1400, coordinates, b"")
    response.proof = NODES[6].sign(response.proof_bytes(), bytes(32))
    return response


# Lookups


@pytest.mark.parametrize(("ttl", "hops"), [(0, 1), (1, 2), (2, 3)])
def test_a_request_reaches_as_far_as_its_hop_limit_and_one_link_more(ttl: int, hops: int) -> None:
    """Section 7.3: the target answers whatever is left, and what arrives with 1 leaves with 0."""
    net = MeshNet(5)
    for n in range(4):
        net.link(n, n + 1)
    net.run(10)
    net.routers[0].lookups._settings = LookupSettings(ttl=ttl)
    for target in range(2, 5):
        net.routers[0].lookup(net.address(target), net.now)
    net.run(1)
    found = {target for target in range(2, 5) if net.routers[0].coordinates_for(net.address(target), net.now)}
    assert found == {target for target in range(2, 5) if target <= hops}


def test_a_target_answers_towards_whoever_asked_it_first() -> None:
    """Section 7.4: the way back is the way the request came."""
    node = Node(3, [1, 5])
    request = LookupRequest(9, ADDRESSES[3], addr(99), 0, 0, [addr(99), ADDRESSES[0]])
    node.said()
    for peer in (5, 1):
        node.router.message(ADDRESSES[peer], 0x30, request.encode()[1:], node.now, 0.0)
    assert node.said() == [(5, 0x31)]
    assert node.router.counters.lookup.req_duplicate == 1
