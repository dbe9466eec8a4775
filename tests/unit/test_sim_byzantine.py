"""Dishonest nodes do what they are scripted to do, from their moment on and until it ends."""

from __future__ import annotations

import pytest

from meshnode.sim import Simulation
from meshnode.sim.byzantine_words import WORDS
from meshnode.sim.expectations import counters
from meshnode.sim.traffic import DELIVERED
from tests.unit.sim_rig import simulation

RING = """
duration: 40
topology: {kind: ring, nodes: 5}
link: fibre
"""


def misbehaving(
    behaviour: str, until: float, end: float = 40, interval: float = 0.2, who: str = "nodes: [n2]"
) -> Simulation:
    text = f"byzantine: [{{behaviour: {behaviour}, {who}, from: 8, to: {end}, interval: {interval}}}]\n"
    return simulation(RING + text, until)


def roots(sim: Simulation) -> set[bytes]:
    return {machine.node.router.tree.root for machine in sim.world.machines if machine.node}


def test_a_lying_root_is_followed_and_left_again() -> None:
    sim = misbehaving("lying_root", until=12, end=15)
    assert roots(sim) == {b"\0" * 15 + b"\1"}
    sim.advance(20)
    assert roots(sim) == {min(machine.address for machine in sim.world.machines)}


def test_a_restless_root_changes_its_mind() -> None:
    sim = misbehaving("restless_root", until=12, interval=1.0)
    before = roots(sim)
    sim.advance(5)
    assert before != roots(sim)


def test_a_swallower_drops_what_is_led_through_it_and_nothing_else() -> None:
    flows = "traffic: [{kind: all_to_all, from: 9, to: 19, interval: 1}]\n"
    everybody = "byzantine: [{behaviour: swallow, nodes: [n0, n1, n2, n3, n4], from: 8, to: 30}]\n"
    sim = simulation(RING + flows + everybody, until=25)
    for flow in sim.world.traffics[0].flows:
        node, arrived = flow.source.node, sum(state == DELIVERED for state in flow.state)
        assert node is not None
        assert len(flow.state) > 5
        assert arrived == (len(flow.state) if flow.destination.address in node.router.neighbours else 0)


def test_a_stubborn_node_stays_where_its_parent_was() -> None:
    sim = misbehaving("stale_ancestry", until=9)
    stubborn = sim.world.machine("n2").node
    assert stubborn is not None
    before = list(stubborn.router.own_coordinates)
    for name in ("n1", "n3"):
        sim.world.crash(sim.world.machine(name))
    sim.advance(25)
    assert stubborn.router.own_coordinates == before


@pytest.mark.parametrize(
    ("behaviour", "counter", "least"),
    [
        ("poisoned_filter", "bloom.fill_exceeded", 10),
        ("lookup_storm", "lookup.req_received", 50),
        ("garbage", "link.malformed", 5),
        ("garbage_inside", "lookup.req_decode_error", 1),
        ("replay", "link.replayed", 100),
    ],
)
def test_nuisances_are_counted_and_end(behaviour: str, counter: str, least: int) -> None:
    sim = misbehaving(behaviour, until=7.5, end=15)
    before = counters(sim.world)[counter]
    sim.advance(10)
    during = counters(sim.world)[counter]
    assert during - before >= least
    sim.advance(4)
    settled = counters(sim.world)[counter]
    sim.advance(4)
    if behaviour != "lookup_storm":
        assert counters(sim.world)[counter] == settled
    assert sim.world.violations == []


@pytest.mark.parametrize("behaviour", sorted(WORDS))
def test_words_reach_everybody_and_end_nobody(behaviour: str) -> None:
    sim = misbehaving(behaviour, until=7.5, end=12, interval=0.05)
    before = counters(sim.world)["forwarding.received_packets"]
    sim.advance(6)
    assert counters(sim.world)["forwarding.received_packets"] - before > 20
    assert all(machine.node is not None for machine in sim.world.machines)
    assert sim.world.violations == []


def test_a_bloated_filter_is_believed() -> None:
    sim = misbehaving("bloated_filter", until=14)
    neighbour = sim.world.machine("n1").node
    assert neighbour is not None
    bits = neighbour.router.neighbours[sim.world.machine("n2").address].filter
    assert bits is not None
    assert bits.bit_count() > 5800


def test_somebody_may_listen_on_a_single_link() -> None:
    sim = misbehaving("replay", until=12, who="between: [n0, n1]")
    assert counters(sim.world)["link.replayed"] > 50
    assert sim.world.dishonest == set()
    assert sim.world.violations == []


def test_a_dishonest_node_that_crashed_does_no_harm() -> None:
    sim = misbehaving("garbage", until=9)
    sim.world.crash(sim.world.machine("n2"))
    sim.advance(5)
    assert sim.world.violations == []
