"""Invariants: what goes wrong is noticed, what passes by itself is not held against a mesh."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshnode.mesh.lookup import MAX_PENDING
from meshnode.sim import Simulation, World
from meshnode.sim.bounds import ORDINARY_BOUND, oversized, tables
from meshnode.sim.invariants import follow, loops
from meshnode.sim.machine import SimNode
from meshnode.sim.standing import cycle
from meshnode.sim.wilful import WilfulTree
from tests.unit.sim_rig import invariants_broken, simulation

MESH = """
duration: 60
topology: {kind: chain, nodes: 4}
link: fibre
checks: {settle: 4, grace: 2, interval: 0.5}
"""

TRIANGLE_WITH_TAIL = """
duration: 60
topology: {kind: edges, edges: [[a, b], [b, c], [c, a], [c, tail], [tail, end]]}
link: fibre
checks: {settle: 4, grace: 2, interval: 0.5, pairs: 200}
"""


def node(world: World, name: str) -> SimNode:
    found = world.machine(name).node
    assert found is not None
    return found


def freeze(world: World, name: str) -> WilfulTree:
    tree = node(world, name).tree
    tree.stubborn = True
    return tree


@pytest.fixture
def sim() -> Simulation:
    """A chain that has converged and is quiet."""
    return simulation(MESH, until=10)


def test_a_mesh_left_alone_breaks_nothing(sim: Simulation) -> None:
    sim.advance(20)
    assert sim.world.violations == []
    assert sim.invariants.routes_followed > 100


def test_the_moment_after_an_event_is_not_judged() -> None:
    sim = simulation(MESH + "events: [{at: 10, link_down: [n1, n2]}]\n", until=12)
    assert sim.invariants.standing is not None
    assert not sim.invariants.standing.settled
    assert sim.world.violations == []


def test_two_roots_in_one_part_are_noticed_when_they_last(sim: Simulation) -> None:
    freeze(sim.world, "n3").claim(b"\0" * 16, 1_700_000_000.0)
    sim.advance(1.5)
    assert sim.world.violations == []
    sim.advance(2)
    assert "one tree per part" in invariants_broken(sim.world)


def test_a_trouble_that_lasts_is_reported_once(sim: Simulation) -> None:
    freeze(sim.world, "n3").claim(b"\0" * 16, 1_700_000_000.0)
    sim.advance(20)
    assert [v.invariant for v in sim.world.violations].count("one tree per part") == 1


def test_parents_in_a_circle_are_noticed(sim: Simulation) -> None:
    first, second = freeze(sim.world, "n1"), freeze(sim.world, "n2")
    first.parent, second.parent = second.me, first.me
    assert set(cycle(sim.world.machines)) == {"n1", "n2"}
    sim.advance(4)
    assert "parents acyclic" in invariants_broken(sim.world)


def test_no_circle_is_seen_where_there_is_none(sim: Simulation) -> None:
    assert cycle(sim.world.machines) == []


def misplace(world: World, at: str, target: str, below: str) -> None:
    """Let the cache of one node say that another hangs below a third."""
    path = [world.machine(target).address, *node(world, below).router.own_coordinates]
    node(world, at).router.coordinate_cache.insert(path[0], path, world.clock.seconds())


def test_caches_that_send_datagrams_in_circles_are_noticed() -> None:
    sim = simulation(TRIANGLE_WITH_TAIL, until=10)
    world = sim.world
    for at, below in (("a", "b"), ("b", "c"), ("c", "a")):
        misplace(world, at, "end", below)
    assert loops(world, world.machine("a"), world.machine("end"))
    sim.advance(4)
    (violation,) = world.violations
    assert violation.invariant == "no forwarding loop"
    assert "to end goes in circles" in violation.detail


def test_what_would_only_go_back_is_no_circle(sim: Simulation) -> None:
    world = sim.world
    misplace(world, "n0", "n3", below="n1")
    misplace(world, "n1", "n3", below="n0")
    assert not loops(world, world.machine("n0"), world.machine("n3"))


def test_routes_are_followed_to_their_end(sim: Simulation) -> None:
    world = sim.world
    assert follow(world, world.machine("n0"), world.machine("n3")) == 3
    assert not loops(world, world.machine("n0"), world.machine("n3"))


def test_a_route_that_leads_nowhere_is_noticed(sim: Simulation) -> None:
    for neighbour in node(sim.world, "n1").router.neighbours.values():
        neighbour.position = neighbour.filter = None
    assert follow(sim.world, sim.world.machine("n1"), sim.world.machine("n3")) is None


def test_datagrams_that_run_out_of_hops_in_a_quiet_mesh_are_noticed(sim: Simulation) -> None:
    sim.advance(1)
    node(sim.world, "n1").forwarding.counters.ttl_exhausted_packets += 1
    sim.advance(1)
    assert invariants_broken(sim.world) == {"hop limit unused"}


def test_an_accepted_replay_is_noticed_even_of_a_node_that_has_gone(sim: Simulation) -> None:
    station = sim.world.machine("n2").station
    assert station is not None
    station.replays_accepted = 1
    sim.world.crash(sim.world.machine("n2"))
    sim.world.note("crash", "crash", ["n2"])
    sim.advance(6)
    assert "no replay accepted" in invariants_broken(sim.world)


def test_a_table_beyond_its_bound_is_noticed(sim: Simulation) -> None:
    names = node(sim.world, "n0").router.lookups.pending
    filler = {i.to_bytes(16, "big"): object() for i in range(ORDINARY_BOUND + 1)}
    names.update(filler)  # type: ignore[arg-type]
    found = oversized(node(sim.world, "n0"))
    assert found == [f"router.lookups.pending holds {ORDINARY_BOUND + 1} entries, at most {MAX_PENDING} allowed"]
    names.clear()


def test_tables_are_found_wherever_they_hang(sim: Simulation) -> None:
    found = dict(tables(node(sim.world, "n1")))
    assert found["links._table.peers"] == 2
    assert found["router.neighbours"] == 2
    assert "sessions._core.packets.queues" in found
    assert "router.coordinate_cache._entries" in found
    assert not any("clock" in path or "medium" in path for path in found)


def test_traces_of_a_node_that_left_are_noticed_only_after_its_lifetime() -> None:
    def broken(lifetime: int) -> set[str]:
        text = MESH.replace("settle: 4", f"departed_after: {lifetime}, settle: 100")
        sim = simulation(text + "events: [{at: 10, crash: n3}]\n", until=18)
        return invariants_broken(sim.world)

    assert broken(1) == {"departed forgotten"}
    assert broken(60) == set()


LIARS: dict[str, Callable[[World], object]] = {
    "a circle": lambda world: cycle(world.machines),
    "a standing": lambda world: world.stand(),
}


@pytest.mark.parametrize("look", sorted(LIARS))
def test_looking_changes_nothing(look: str) -> None:
    watched, alone = simulation(MESH, until=8), simulation(MESH, until=8)
    for _ in range(5):
        LIARS[look](watched.world)
        follow(watched.world, watched.world.machine("n0"), watched.world.machine("n3"))
        loops(watched.world, watched.world.machine("n0"), watched.world.machine("n3"))
        dict(tables(node(watched.world, "n0")))
    watched.advance(4)
    alone.advance(4)
    assert watched.finish().to_json() == alone.finish().to_json()
