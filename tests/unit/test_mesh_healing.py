"""Meshes of whole nodes that lose a node or a link without a word: how soon everybody talks to everybody again."""

from __future__ import annotations

import pytest

from .healing_rig import DEAD, Edge, HealingNet, chain, grid, ring

BYPASSED = [*chain(5), ("n1", "x"), ("x", "n3")]
TWO_RINGS = [("a0", "a1"), ("a1", "a2"), ("a2", "a0"), ("b0", "b1"), ("b1", "b2"), ("b2", "b0"), ("a2", "b0")]

SETTLED_WITHIN = 10.0
TALKING_WITHIN = 5.0


def talking(edges: list[Edge], order: list[str] | None = None, seed: int = 7) -> HealingNet:
    """A mesh in which every pair has been talking for a while."""
    net = HealingNet(edges, order or (), seed=seed)
    net.start()
    net.run(3)
    net.talk()
    net.run(14.6)
    assert net.whole()
    assert all(net.arrivals[flow] for flow in net.flows)
    return net


def assert_healed(net: HealingNet, since: float) -> None:
    """The tree was whole in time, and soon after the last outage was over."""
    assert net.whole()
    settled = max(net.torn_at, since)
    assert settled - since <= SETTLED_WITHIN
    assert net.healed_at(since) <= settled + TALKING_WITHIN, sorted(net.gaps(since), key=lambda gap: gap[2])[-3:]


@pytest.mark.parametrize(
    ("edges", "order", "victim"),
    [
        (BYPASSED, ["n0"], "n2"),
        (BYPASSED, ["n0"], "x"),
        (ring(7), ["n0"], "n3"),
        (ring(7), ["n0"], "n1"),
        (ring(7), ["n0"], "n0"),
        (grid(3, 3), ["n0"], "n4"),
        (grid(3, 3), ["n0"], "n0"),
        (grid(3, 3), ["n4"], "n4"),
    ],
    ids=[
        "chain",
        "bypass",
        "ring",
        "ring, child of root",
        "ring, root",
        "grid",
        "grid, root",
        "grid, root in the middle",
    ],
)
def test_after_a_crash_every_pair_talks_again(edges: list[Edge], order: list[str], victim: str) -> None:
    net = talking(edges, order)
    crashed = net.clock.seconds()
    net.crash(victim)
    net.run(18)
    assert_healed(net, crashed)


@pytest.mark.parametrize("edge", [("n0", "n1"), ("n2", "n3")], ids=str)
def test_after_a_link_fell_silent_every_pair_talks_again(edge: Edge) -> None:
    net = talking(ring(7), ["n0"])
    cut = net.clock.seconds()
    net.cut(edge)
    net.run(18)
    assert_healed(net, cut)


def test_two_crashes_at_once_are_no_worse_than_one() -> None:
    net = talking(grid(3, 3), ["n0"])
    crashed = net.clock.seconds()
    net.crash("n0")
    net.crash("n4")
    net.run(18)
    assert_healed(net, crashed)


def test_both_sides_of_a_partition_go_on_and_meet_again() -> None:
    net = talking(TWO_RINGS, ["a0", "b1"])
    everybody = net.flows
    net.talk(*[flow for flow in everybody if flow[0][0] == flow[1][0]])
    net.cut(("a2", "b0"))
    parted = net.clock.seconds()
    net.run(11)
    assert net.whole(["a0", "a1", "a2"])
    assert net.whole(["b0", "b1", "b2"])
    assert net.healed_at(parted) <= parted + 10
    net.run(29)
    net.talk(*everybody)
    net.mend(("a2", "b0"))
    joined = net.clock.seconds()
    net.run(18)
    assert_healed(net, joined)


def test_a_link_that_comes_back_before_it_was_given_up_is_used_at_once() -> None:
    net = talking(TWO_RINGS, ["a0"])
    net.cut(("a2", "b0"))
    net.run(12)
    link = net.link("a2", "b0")
    assert link is not None
    assert link.distrusted
    net.mend(("a2", "b0"))
    mended = net.clock.seconds()
    net.run(5)
    assert net.link("a2", "b0") is link
    assert not link.distrusted
    assert_healed(net, mended)


# Suspicion


def test_a_silent_peer_is_probed_then_distrusted_then_removed() -> None:
    net = talking(chain(3), ["n0"])
    link = net.link("n1", "n2")
    assert link is not None
    net.crash("n2")
    crashed = link.last_heard
    doubtful = distrusted = None
    while net.link("n1", "n2") is link:
        net.run(0.1)
        now = net.clock.seconds() - crashed
        doubtful = doubtful or (link.doubtful and now)
        distrusted = distrusted or (link.distrusted and now)
    assert doubtful
    assert distrusted
    assert 2 <= doubtful <= 3
    assert doubtful + 1.1 <= distrusted <= 4.5
    assert 30 <= net.clock.seconds() - crashed <= 32


def test_traffic_has_a_second_choice_before_anybody_is_distrusted() -> None:
    net = talking([*ring(4), ("n3", "y")], ["n0", "n1", "n2", "n3"])
    net.talk(("n2", "y"))
    net.run(1)
    first = net.hop("n2", "y") or ""
    second = {"n1": "n3", "n3": "n1"}[first]
    cut = net.clock.seconds()
    net.cut(("n2", first))
    net.run(2.4)
    link = net.link("n2", first)
    assert link is not None
    assert (link.doubtful, link.distrusted) == (True, False)
    assert net.hop("n2", "y") == second
    net.run(4)
    assert net.worst_gap(cut)[0] <= 4


def test_a_node_without_any_other_peer_stays_with_its_silent_parent() -> None:
    net = talking(chain(2), ["n0"])
    net.cut(("n0", "n1"))
    net.run(12)
    link = net.link("n1", "n0")
    assert link is not None
    assert link.distrusted
    assert net.parent("n1") == "n0"
    net.mend(("n0", "n1"))
    mended = net.clock.seconds()
    net.run(4)
    assert net.healed_at(mended) <= mended + 3


def test_a_peer_that_speaks_but_does_not_hear_is_left_too() -> None:
    net = talking(ring(4), ["n0"])
    child = next(name for name in ("n1", "n3") if net.parent(name) == "n0")
    deaf = net.clock.seconds()
    net.spoil((child, "n0"), DEAD, both=False)
    net.run(20)
    assert net.parent(child) != "n0"
    assert net.whole()
    assert net.healed_at(deaf) <= deaf + 15


def test_a_peer_that_reports_nothing_is_not_suspected_between_its_heartbeats() -> None:
    net = HealingNet(chain(2))
    net["n1"].node.settings.mmp.mode = "minimal"
    net.start()
    net.run(60)
    assert net.said("n0", "not relied on") == []
    assert net.said("n1", "not relied on") == []


def test_a_peer_that_falls_silent_again_and_again_is_trusted_later_each_time() -> None:
    net = talking(chain(2))
    link = net.link("n0", "n1")
    assert link is not None
    waits = []
    for _ in range(3):
        net.cut(("n0", "n1"))
        net.run(10)
        assert link.distrusted
        net.mend(("n0", "n1"))
        mended = net.clock.seconds()
        while link.distrusted:
            net.run(0.5)
        waits.append(net.clock.seconds() - mended)
    assert waits[0] <= 2
    assert waits[0] < waits[1] < waits[2] <= 15


# Sessions


def test_a_path_that_breaks_at_its_origin_is_replaced() -> None:
    """The neighbour one talks to directly is still there, by another way (spec 02 section 5.7)."""
    net = talking([("a", "b"), ("b", "c"), ("c", "a")])
    cut = net.clock.seconds()
    net.cut(("a", "b"))
    net.run(40)
    assert net.hop("a", "b") == "c"
    assert net.worst_gap(cut)[0] <= 10
    assert net.said("a", "session with b closed") == net.said("b", "session with a closed") == []


@pytest.mark.parametrize("wait", [1.0, 3.0, 4.5, 6.0])
def test_neighbours_whose_link_died_before_their_first_words_find_each_other(wait: float) -> None:
    """A handshake across a dead link must not hold the session until the link is given up after half a minute."""
    net = HealingNet([("left", "top"), ("right", "top"), ("foot", "left"), ("foot", "right")], ["top"])
    net.start()
    net.run(8)
    cut = net.clock.seconds()
    parent = net.parent("foot")
    net.cut(("foot", parent))
    net.run(wait)
    net.talk()
    net.run(14 - wait)
    assert net.whole()
    assert net.settled_at <= cut + SETTLED_WITHIN
    assert all(net.arrivals[flow] for flow in net.flows)
    begin = max(net.settled_at, cut + wait)
    assert max(net.arrivals[flow][0] for flow in net.flows) <= begin + TALKING_WITHIN


def test_partners_learn_the_new_place_without_asking() -> None:
    net = talking(ring(5), ["n0"])
    child = next(name for name in ("n2", "n3") if len(net.path(name)) == 3)
    partner = net["n0"]
    net.talk((child, "n0"))
    net.crash(net.parent(child))
    net.run(9)
    known = partner.node.router.coordinates_for(net[child].identity.node_addr, net.clock.seconds())
    assert known == net[child].node.router.own_coordinates


def test_old_coordinates_on_the_way_do_not_send_traffic_in_circles() -> None:
    """A node on the way takes the destination to be where its last hop came from; the source teaches it better."""
    net = talking(chain(4), ["n0"])
    addresses = {name: net[name].identity.node_addr for name in net.living()}
    net.talk(("n0", "n3"))
    moved = net.clock.seconds()
    cache = net["n1"].node.router.coordinate_cache
    cache.insert(addresses["n3"], [addresses["n3"], addresses["n0"]], moved)
    net.run(2)
    assert net.worst_gap(moved)[0] == 0.0
    assert cache.peek(addresses["n3"]) == net["n3"].node.router.own_coordinates
    assert sum(net[name].node.forwarding.counters.ttl_exhausted_packets for name in addresses) == 0


def test_nothing_outlives_a_node_that_is_gone() -> None:
    net = talking(ring(5), ["n0"])
    gone = net["n2"].identity.node_addr
    net.crash("n2")
    net.flows = [flow for flow in net.flows if "n2" not in flow]
    net.run(45)
    for name in net.living():
        node = net[name].node
        assert gone not in node.links.peers
        assert gone not in node.router.neighbours
        assert gone not in node.router.lookups.pending


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_moment_of_the_crash(seed: int) -> None:
    net = talking(ring(7), ["n0"], seed=seed)
    net.run(0.1 + 0.37 * seed)
    crashed = net.clock.seconds()
    net.crash("n1")
    net.run(18)
    assert_healed(net, crashed)
