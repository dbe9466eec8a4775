"""Meshes of whole nodes that come together: how soon all pairs talk, and what orders of arrival must not matter."""

from __future__ import annotations

import pytest

from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.transports.memory import LinkQuality

from .healing_rig import Edge, HealingNet, chain, grid, ring, star

TREE_ANNOUNCE, FILTER_ANNOUNCE = 0x10, 0x20
FIBRE = LinkQuality(delay=(0.0001, 0.0003))


@pytest.mark.parametrize(
    ("edges", "order", "quality"),
    [
        (star(9), ["hub"], None),
        (star(9), ["n3"], None),
        (star(9), ["n3"], FIBRE),
        (star(9), [f"n{n}" for n in range(9)], None),
        (ring(7), ["n0"], None),
        (chain(7), ["n3"], None),
        (grid(3, 3), ["n4"], None),
    ],
    ids=["star", "star, leaf root", "star, round trips below a millisecond", "star, hub last", "ring", "chain", "grid"],
)
def test_all_pairs_talk_soon_after_everybody_started(
    edges: list[Edge], order: list[str], quality: LinkQuality | None
) -> None:
    net = HealingNet(edges, order, quality=quality)
    net.start()
    net.talk()
    net.run(5)
    silent = [flow for flow in net.flows if not net.arrivals[flow]]
    assert silent == []
    assert net.whole()


def test_all_pairs_talk_soon_when_nodes_join_one_after_the_other() -> None:
    net = HealingNet(star(9), ["n8"])
    net.start(stagger=0.4)
    net.talk()
    net.run(5)
    assert [flow for flow in net.flows if not net.arrivals[flow]] == []


def close_ring(net: HealingNet) -> None:
    first, last = net["n0"], net["n6"]
    last.node.connect(PeerConfig(first.identity.peer, [PeerAddress("memory", "n0")]))


@pytest.mark.parametrize("age", [4, 15])
def test_a_link_that_closes_a_ring_is_used_at_once(age: float) -> None:
    net = HealingNet(chain(7), ["n0"])
    net.start()
    net.talk(("n0", "n5"), ("n5", "n0"), ("n0", "n6"))
    net.run(age)
    close_ring(net)
    net.run(5)
    assert net.hop("n0", "n6") == "n6"
    assert net.hop("n5", "n0") == "n6"
    assert net.path("n6") == ["n6", "n0"]
    closed = net.clock.seconds()
    net.run(6)
    assert net.hop("n0", "n5") == "n6"
    assert net.worst_gap(closed)[0] == 0


# The filter must not overtake the announcement that makes its sender a child (spec 03 section 5.6)


def announces_late(net: HealingNet, name: str, seconds: float) -> None:
    """Let `name` send filters when it likes and announcements late, as a busy reference node may."""
    node = net[name].node
    send = node.links.send

    def hesitant(peer: object, message: bytes, now: float) -> None:
        if message[0] == TREE_ANNOUNCE:
            net.clock.callLater(seconds, lambda: node.run(lambda when: send(peer, message, when)))  # type: ignore[arg-type]
        else:
            send(peer, message, now)  # type: ignore[arg-type]

    node.links.send = hesitant  # type: ignore[method-assign]
    node.router.filters._hold_back = lambda neighbour: False


def test_a_child_whose_filter_came_first_is_found_by_everybody() -> None:
    net = HealingNet(chain(4), ["n0", "n1", "n2", "n3"])
    announces_late(net, "n3", 1.3)
    net.start()
    net.run(5)
    net.talk(("n0", "n3"))
    net.run(2)
    assert net.arrivals["n0", "n3"]


def test_our_own_filters_follow_our_announcements() -> None:
    net = HealingNet(chain(3), ["n0", "n1", "n2"])
    spoken: list[int] = []
    node = net["n2"].node
    send = node.links.send

    def noted(peer: object, message: bytes, now: float) -> None:
        spoken.append(message[0])
        send(peer, message, now)  # type: ignore[arg-type]

    node.links.send = noted  # type: ignore[method-assign]
    net.start()
    net.run(4)
    told = [kind for kind in spoken if kind in (TREE_ANNOUNCE, FILTER_ANNOUNCE)]
    assert net.parent("n2") == "n1"
    last_announce = max(index for index, kind in enumerate(told) if kind == TREE_ANNOUNCE)
    assert FILTER_ANNOUNCE in told[last_announce:]


# Lookups


def test_a_lookup_waits_for_the_filter_that_names_its_target() -> None:
    net = HealingNet(chain(5), ["n0"])
    net.start()
    net["n0"].send(net["n4"], b"before anybody knows anybody", 59)
    net.run(6)
    assert len(net.arrivals["n0", "n4"]) == 1


def test_many_may_look_for_the_same_node_at_once() -> None:
    """The hub relays for all of them instead of for one every two seconds."""
    net = HealingNet(star(9), ["hub"])
    net.start()
    net.run(4)
    for n in range(8):
        net[f"n{n}"].send(net["n8"], b"found", 59)
    net.run(1)
    assert all(net.arrivals[f"n{n}", "n8"] for n in range(8))
