"""Wanted peers: shown with what stands in their way, added, removed; the log's level and its last lines."""

from __future__ import annotations

import pytest
from twisted.logger import Logger

from meshnode.control.commands import CommandError
from meshnode.control.lines import KEPT, RecentLines
from meshnode.identity import Identity
from meshnode.ipv6.hosts import HostMap
from meshnode.node.peering import PeerAddress, PeerConfig
from tests.unit.node_rig import MeshNet
from tests.unit.test_control_state import GHOST, Chain, Operator


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_configured_peers_are_shown_with_what_stands_in_their_way(chain: Chain) -> None:
    chain.net.run(30)
    rows = {row["display_name"]: row for row in chain.operators[0].ask("show_known_peers")["peers"]}
    bee, ghost = rows["bee"], rows["ghost"]
    assert (bee["is_configured"], bee["is_connected"], bee["next_attempt_ms"]) == (True, True, None)
    assert (ghost["is_connected"], ghost["wish"]) == (False, "keep")
    assert ghost["vain_attempts"] >= 1
    assert ghost["addresses"][0] == {
        "transport": "memory", "address": "nowhere", "priority": 100, "source": "configuration", "tried_in_vain": True,
    }  # fmt: skip


def test_a_peer_is_added_dialled_and_removed_for_good() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start()
    operator = Operator(a, net)
    answer = operator.ask("peer_add", {"npub": b.identity.npub, "address": "b", "transport": "memory", "alias": "bee"})
    assert answer["addresses"] == [{"transport": "memory", "addr": "b"}]
    net.run(1)
    (row,) = operator.ask("show_peers")["peers"]
    assert row["display_name"] == "bee"
    removed = operator.ask("peer_remove", {"npub": b.identity.npub})
    assert (removed["was_configured"], removed["was_connected"]) == (True, True)
    net.run(30)
    assert operator.ask("show_peers")["peers"] == []
    with pytest.raises(CommandError, match=r"^peer not found: npub1"):
        operator.ask("peer_remove", {"npub": b.identity.npub})


def test_an_alias_is_a_name_under_fips_as_long_as_the_peer_is_wanted() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    a.start()
    hosts = a.node.world.hosts = HostMap(None, [("other", GHOST)])
    operator = Operator(a, net)
    operator.ask("peer_add", {"npub": b.identity.npub, "address": "b", "transport": "memory", "alias": "Bee"})
    assert hosts.lookup("bee") == b.identity.peer
    operator.ask("peer_add", {"npub": b.identity.npub, "address": "b", "transport": "memory", "alias": "no name"})
    assert [text for text in hosts.warnings if "'no name' gets no .fips name" in text]
    operator.ask("peer_remove", {"npub": b.identity.npub})
    assert hosts.lookup("bee") is None
    assert hosts.lookup("other") == GHOST


def test_a_second_address_stands_beside_the_first(chain: Chain) -> None:
    operator = chain.operators[0]
    operator.ask("peer_add", {"npub": GHOST.npub, "address": "elsewhere", "transport": "memory"})
    answer = operator.ask("peer_add", {"npub": GHOST.npub, "address": "elsewhere", "transport": "memory"})
    assert [one["addr"] for one in answer["addresses"]] == ["nowhere", "elsewhere"]
    assert answer["alias"] == "ghost"


def test_the_answer_says_what_changed_about_a_peer_that_was_known(chain: Chain) -> None:
    operator, node = chain.operators[0], chain.hosts[0].node
    ghost: dict[str, object] = {"npub": GHOST.npub, "transport": "memory"}
    stranger = Identity(bytes(31) + b"\x77").npub
    assert operator.ask("peer_add", {**ghost, "npub": stranger, "address": "x"})["changed"] == ["peer"]
    assert operator.ask("peer_add", {**ghost, "address": "nowhere"})["changed"] == []
    assert operator.ask("peer_add", {**ghost, "address": "elsewhere", "alias": "spook"})["changed"] == [
        "another address",
        "alias",
    ]
    node.peering.disconnect(GHOST)
    assert operator.ask("peer_add", {**ghost, "address": "nowhere"})["changed"] == ["no longer left alone"]


def test_adding_a_peer_again_leaves_its_addresses_in_their_order(chain: Chain) -> None:
    node, addresses = chain.hosts[0].node, [PeerAddress("memory", "first", 10), PeerAddress("memory", "second", 20)]
    node.run(lambda now: node.peering.configure(PeerConfig(GHOST, addresses, auto_connect=False), now))
    answer = chain.operators[0].ask("peer_add", {"npub": GHOST.npub, "address": "first", "transport": "memory"})
    assert answer["changed"] == ["dialled from now on"]
    known = node.peering.known.get(GHOST.node_addr)
    assert known is not None
    assert [candidate.address for candidate in known.candidates] == addresses


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"npub": "x", "address": "b", "transport": "memory"}, "invalid peer npub 'x'"),
        ({"npub": GHOST.npub, "address": "b", "transport": "tcp"}, "of kind tcp can send to 'b'; this node has memory"),
        ({"npub": GHOST.npub, "address": "b"}, "missing 'transport' parameter"),
    ],
)
def test_mistakes_are_named(chain: Chain, params: dict[str, str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        chain.operators[0].ask("peer_add", params)


def test_this_node_is_no_peer_of_its_own(chain: Chain) -> None:
    npub = chain.hosts[0].identity.npub
    with pytest.raises(CommandError, match="this node itself"):
        chain.operators[0].ask("peer_add", {"npub": npub, "address": "a", "transport": "memory"})


def test_the_log_level_is_told_and_set(chain: Chain) -> None:
    operator = chain.operators[0]
    assert operator.ask("log_level", {"level": "debug"}) == {"level": "debug"}
    assert operator.ask("log_level") == {"level": "debug"}
    with pytest.raises(CommandError, match="unknown log level: loud"):
        operator.ask("log_level", {"level": "loud"})


def test_the_last_lines_of_the_log_are_kept_and_nobody_elses() -> None:
    lines = RecentLines()
    lines.start()
    try:
        Logger(namespace="somebody").info("else")
        for number in range(KEPT + 5):
            Logger(namespace="meshnode").warn("line {number}", number=number)
    finally:
        lines.stop()
    kept = lines.show(None)["lines"]
    assert len(kept) == KEPT
    assert (kept[-1]["level"], kept[-1]["text"]) == ("warn", f"line {KEPT + 4}")
    assert [line["text"] for line in lines.show({"count": 2})["lines"]] == [f"line {KEPT + 3}", f"line {KEPT + 4}"]
