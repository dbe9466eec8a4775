"""Meshes of whole nodes whose links get worse: a bad parent is left in time, and a merely lossy one is lived with."""

from __future__ import annotations

import pytest

from meshnode.transports.memory import LinkQuality

from .healing_rig import Edge, HealingNet, grid, ring

DIAMOND = [("c", "p1"), ("c", "p2"), ("p1", "r"), ("p2", "r"), ("d", "c")]
TRIANGLE = [("c", "r"), ("p", "r"), ("c", "p")]
NEAR = (0.001, 0.002)
FAR = (0.081, 0.082)


def degraded(net: HealingNet, quality: LinkQuality, both: bool = True, talk: bool = True) -> float:
    """Let the link between `c` and its parent turn bad; the seconds until `c` hung below another one."""
    net.start()
    net.run(4)
    if talk:
        net.talk(("c", "r"), ("r", "c"))
    net.run(40.3)
    parent = net.parent("c")
    since = net.clock.seconds()
    net.spoil(("c", parent), quality, both)
    while net.parent("c") == parent and net.clock.seconds() < since + 60:
        net.run(0.2)
    return net.clock.seconds() - since


def lost(net: HealingNet, seconds: float) -> float:
    """Share of the traffic of the next seconds that does not arrive."""
    before = {flow: len(net.arrivals[flow]) for flow in net.flows}
    net.run(seconds)
    arrived = sum(len(net.arrivals[flow]) - before[flow] for flow in net.flows)
    return 1 - arrived / (10 * seconds * len(net.flows))


@pytest.mark.parametrize(
    ("quality", "both"),
    [
        (LinkQuality(loss=0.2, delay=NEAR), True),
        (LinkQuality(loss=0.3, delay=NEAR), True),
        (LinkQuality(loss=0.2, delay=NEAR), False),
        (LinkQuality(loss=0.3, delay=NEAR), False),
        (LinkQuality(delay=FAR), True),
        (LinkQuality(delay=FAR), False),
    ],
    ids=["20 %", "30 %", "20 % one way", "30 % one way", "80 ms", "80 ms one way"],
)
def test_a_parent_whose_link_turns_bad_is_left_and_traffic_follows(quality: LinkQuality, both: bool) -> None:
    net = HealingNet(DIAMOND, ["r", "p1", "p2"])
    assert degraded(net, quality, both) <= 20
    left = net.clock.seconds()
    net.run(2)
    assert lost(net, 10) == pytest.approx(0, abs=0.01)
    net.run(45)
    assert [name for when, name in net.parent_changes if when > left and name == "c"] == []


def test_an_idle_link_is_judged_as_well() -> None:
    net = HealingNet(DIAMOND, ["r", "p1", "p2"])
    assert degraded(net, LinkQuality(loss=0.3, delay=NEAR), talk=False) <= 20


def test_a_bad_link_to_the_root_is_left_for_a_longer_way() -> None:
    net = HealingNet(TRIANGLE, ["r", "p", "c"])
    assert degraded(net, LinkQuality(loss=0.25, delay=NEAR)) <= 20
    net.run(2)
    assert net.hop("c", "r") == net.hop("r", "c") == "p"
    assert lost(net, 10) == pytest.approx(0, abs=0.01)


def test_a_peer_that_answers_handshakes_and_nothing_else_is_reached_by_another_way() -> None:
    """As a daemon before 0.4 without room does (spec 01 section 7.1)."""
    net = HealingNet([("r", "c"), ("r", "p"), ("p", "c")], ["r", "p", "c"])
    net.medium.phases = {("r", "c"): {1}, ("c", "r"): {2}}
    net.start()
    net.run(40)
    net.talk(("r", "c"), ("c", "r"))
    net.run(20)
    assert lost(net, 150) <= 0.01
    assert 2 <= len(net.said("r", "peer c connected")) <= 5


def test_a_link_that_got_well_is_used_again() -> None:
    net = HealingNet(TRIANGLE, ["r", "p", "c"])
    degraded(net, LinkQuality(loss=0.25, delay=NEAR))
    net.run(5)
    net.mend(("c", "r"))
    net.run(60)
    assert net.hop("c", "r") == "r"


@pytest.mark.parametrize(
    ("edges", "root"), [(DIAMOND, "r"), (ring(5), "n0"), (grid(3, 2), "n0")], ids=["diamond", "ring", "grid"]
)
def test_ten_minutes_of_losses_everywhere_do_not_make_a_tree_flap(edges: list[Edge], root: str) -> None:
    net = HealingNet(edges, [root], quality=LinkQuality(loss=0.2, delay=(0.001, 0.004)))
    net.start()
    net.run(60)
    steady = net.clock.seconds()
    net.run(600, step=0.5)
    changes = [(when, name) for when, name in net.parent_changes if when > steady]
    assert len(changes) <= 2, changes
    assert net.whole()
    for name in net.living():
        assert net.said(name, "removed") == []
        assert len(net.said(name, "not relied on")) <= 1


def test_one_lossy_link_is_not_distrusted_for_its_losses() -> None:
    net = HealingNet([("a", "b"), ("b", "c")], ["a"], quality=LinkQuality(loss=0.2, delay=NEAR))
    net.start()
    net.run(600, step=0.5)
    for name in net.living():
        assert len(net.said(name, "not relied on")) <= 1
        assert net.said(name, "removed") == []


def test_announcements_get_through_a_lossy_link() -> None:
    """They are unacknowledged; the peer's reports tell that something was lost, and then they are repeated."""
    for seed in range(5):
        net = HealingNet(ring(5), ["n0"], quality=LinkQuality(loss=0.2, delay=NEAR), seed=seed)
        net.start()
        net.run(15)
        assert net.whole(), seed
        filters = [
            neighbour.filter is not None for host in net.hosts for neighbour in host.node.router.neighbours.values()
        ]
        assert all(filters), seed
