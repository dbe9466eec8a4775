"""Whole meshes: machines that start, crash and come back, events, and the same again for the same seed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.sim import Simulation, run
from meshnode.sim.traffic import DELIVERED, EXCUSED, PENDING
from tests.unit.sim_rig import CHAIN, scenario, simulation

PAIRS = "traffic: [{kind: pairs, pairs: [[n0, n3]], from: 6, to: 18, interval: 0.5}]\n"


def test_a_chain_converges_and_carries_packets_over_all_its_hops() -> None:
    sim = simulation(CHAIN + PAIRS, until=20)
    (flow,) = sim.world.traffics[0].flows
    assert set(flow.state) == {DELIVERED}
    assert set(flow.hops) == {3}
    assert sim.world.stand().settled
    assert sim.finish().passed


def test_the_root_is_the_smallest_address_and_known_to_everybody() -> None:
    world = simulation(until=6).world
    smallest = min(machine.address for machine in world.machines)
    assert {machine.node.router.tree.root for machine in world.machines if machine.node} == {smallest}


def test_a_crashed_machine_says_nothing_and_a_stopped_one_says_goodbye() -> None:
    crashed, stopped = simulation(until=6).world, simulation(until=6).world
    crashed.crash(crashed.machine("n1"))
    stopped.stop(stopped.machine("n1"))
    for world in (crashed, stopped):
        world.run_until(6.5)
    peers = [world.machine("n0").node for world in (crashed, stopped)]
    assert [len(node.links.peers) if node else None for node in peers] == [1, 0]


def test_a_restart_keeps_the_key_and_nothing_else() -> None:
    world = simulation(until=6).world
    machine = world.machine("n1")
    before, key = machine.node, machine.identity.npub
    assert before is not None
    epochs = {before.links._table.startup_epoch}
    world.crash(machine)
    world.run_until(8)
    world.start(machine)
    world.run_until(16)
    after = machine.node
    assert after is not None
    assert after is not before
    assert machine.identity.npub == key == after.identity.npub
    assert after.links._table.startup_epoch not in epochs
    assert len(after.links.peers) == 2


def test_packets_to_and_from_a_machine_that_dies_are_excused() -> None:
    sim = simulation(CHAIN + PAIRS + "events: [{at: 10, crash: n3}]\n", until=20)
    (flow,) = sim.world.traffics[0].flows
    assert PENDING not in flow.state
    assert max(flow.sent) < 10


def test_packets_between_parts_of_a_broken_mesh_are_excused() -> None:
    sim = simulation(CHAIN + PAIRS + "events: [{at: 10, link_down: [n1, n2]}]\n", until=20)
    (flow,) = sim.world.traffics[0].flows
    fates = {state for sent, state in zip(flow.sent, flow.state, strict=True) if sent > 10}
    assert fates == {EXCUSED}
    assert [len(part) for part in sim.world.parts] == [2, 2]


def test_a_partition_cuts_what_lies_between_the_groups_and_healing_mends_it() -> None:
    text = CHAIN + "events: [{at: 5, partition: [[n0, n1]]}, {at: 8, heal: true}]\n"
    world = simulation(text, until=6).world
    up = {pair: way.up for pair, way in world.medium.ways.items()}
    assert [pair for pair, alive in up.items() if not alive] == [("n1", "n2"), ("n2", "n1")]
    world.run_until(9)
    assert all(way.up for way in world.medium.ways.values())


def test_a_link_that_was_down_before_a_partition_stays_down_after_it() -> None:
    text = CHAIN + "events: [{at: 4, link_down: [n1, n2]}, {at: 5, partition: [[n0, n1]]}, {at: 8, heal: true}]\n"
    assert not simulation(text, until=9).world.medium.ways["n1", "n2"].up


def test_selectors_mean_whom_they_say() -> None:
    sim = simulation("duration: 20\ntopology: {kind: star, nodes: 5}\nlink: fibre\n", until=6)
    resolve, world = sim.script.resolve, sim.world
    root = min(world.machines, key=lambda machine: machine.address)
    assert resolve("root") == [root]
    assert resolve("n3") == [world.machine("n3")]
    assert resolve("busiest")[0].name in ("n0", root.name)
    assert resolve("parent of root") == []
    deepest = resolve("deepest")[0]
    assert resolve("parent of deepest")[0].address == (deepest.node and deepest.node.router.tree.parent)
    assert resolve("crashed") == []
    world.crash(world.machine("n2"))
    assert resolve("crashed") == [world.machine("n2")]


def test_who_joins_late_is_absent_until_then() -> None:
    text = CHAIN + "start: {absent: [n3]}\nevents: [{at: 8, join: n3}]\n"
    sim = simulation(text, until=7)
    assert not sim.world.machine("n3").running
    sim.advance(8)
    assert sim.world.stand().settled
    assert len(sim.world.parts) == 1


def test_churn_brings_everybody_back() -> None:
    sim = simulation(CHAIN + "events: [{at: 5, churn: {until: 12, every: 1, down_for: 2}}]\n", until=16)
    assert all(machine.running for machine in sim.world.machines)
    assert sum(machine.starts for machine in sim.world.machines) == 4 + 8


def test_a_changed_link_has_its_new_qualities_only() -> None:
    text = CHAIN + "events: [{at: 5, link_change: {between: [n2, n1], there: {loss: 1.0}}}]\n"
    world = simulation(text, until=6).world
    assert world.medium.ways["n2", "n1"].quality.loss == 1.0
    assert world.medium.ways["n1", "n2"].quality.loss == 0.0
    assert len(world.parts) == 2


def test_both_ends_of_each_link_may_dial() -> None:
    sim = simulation(CHAIN + "start: {dial: both, spread: 0}\n", until=6)
    assert all(len(machine.peers) == len(sim.world.medium.ways_from(machine.name)) for machine in sim.world.machines)
    assert sim.world.stand().settled


@pytest.mark.parametrize("shape", ["ring, nodes: 5", "star, nodes: 5", "grid, rows: 2, columns: 3", "full, nodes: 4"])
def test_meshes_of_any_shape_converge(shape: str) -> None:
    sim = simulation(f"duration: 10\ntopology: {{kind: {shape}}}\nlink: fibre\n", until=8)
    assert sim.world.happenings[0].filters_settled is not None
    assert sim.invariants.standing is not None
    assert sim.invariants.standing.settled


def test_a_run_is_a_pure_function_of_scenario_and_seed() -> None:
    mesh = scenario(CHAIN + PAIRS + "events: [{at: 9, crash: random}, {at: 12, restart: crashed}]\n")
    mesh = replace(mesh, link=replace(mesh.link, both={"loss": 0.05, "jitter": 0.01}))
    first, second, other = run(mesh, 5), run(mesh, 5), run(mesh, 6)
    assert first == second
    assert first.to_json() == second.to_json()
    assert first.record.history != other.record.history


def test_stepping_is_the_same_as_running() -> None:
    mesh = scenario(CHAIN + PAIRS)
    steps = Simulation(mesh)
    for _ in range(20):
        steps.advance(1.0)
    assert steps.finish().to_json() == run(mesh).to_json()


def test_two_worlds_do_not_touch_each_other() -> None:
    alone = simulation(until=10)
    left, right = simulation(), simulation()
    for _ in range(10):
        left.advance(1.0)
        right.advance(1.0)
    assert left.finish().to_json() == right.finish().to_json() == alone.finish().to_json()
