"""Meshes heal: nodes are killed, cables cut and mended, links turn bad, and traffic finds another way.

What was measured is printed beside the aim; what is asserted leaves a busy machine time, but no node a timeout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pytest

from tests.rigs import meshes, sweeps, traffic
from tests.rigs.labs import Lab
from tests.rigs.meshes import Cable, Edge, Mesh
from tests.rigs.nodes import Node
from tests.rigs.relays import relayed
from tests.rigs.sweeps import Echoes
from tests.rigs.waiting import pause, wait_until

pytestmark = pytest.mark.net

_START_LIMIT = 45.0
_AIM, _ASSURED, _LIMIT = 5.0, 10.0, 60.0
_TREE_AIM = 10.0
_ROUNDS = 8

Measured = Callable[[str], None]


@contextmanager
def _running(lab: Lab, edges: list[Edge]) -> Iterator[tuple[Mesh, Echoes]]:
    """A mesh in which every pair has exchanged echoes and every node names the same root."""
    mesh = Mesh(lab, edges)
    mesh.start()
    sweeps.introduce(mesh.nodes)
    with sweeps.echoes(mesh.nodes) as echoes:
        echoes.all_answer(mesh.pairs(), _START_LIMIT)  # how soon: test_mesh_shapes
        mesh.wait_one_root(mesh.nodes, 10)
        yield mesh, echoes


def _heals(mesh: Mesh, echoes: Echoes, without: Sequence[Node | Cable], what: str, measured: Measured) -> None:
    """Assert that all pairs that a path is left for answer in time, and see whether they go on doing so."""
    pairs = mesh.pairs(without)
    answers = echoes.all_answer(pairs, _LIMIT)
    late = "" if answers.slowest <= _AIM else f"  LATE, the aim is {_AIM:g} s"
    lost = echoes.lost(pairs, _ROUNDS)
    relapse = f", then {sum(lost.values())} of {_ROUNDS * len(pairs)} echoes lost: {sweeps.names(lost)}" if lost else ""
    measured(f"{what}: {answers}{late}{relapse}")
    echoes.all_answer(pairs, _LIMIT)
    assert answers.slowest <= _ASSURED, answers.latest()


def _settles(mesh: Mesh, without: Sequence[Node | Cable], what: str, measured: Measured) -> None:
    """Assert that soon after the last answer, which came in time, every part names its root."""
    seconds = max(mesh.wait_one_root(part, _LIMIT) for part in mesh.parts(without))
    late = "" if seconds <= _TREE_AIM else f"  LATE, the aim is {_TREE_AIM:g} s"
    measured(f"{what}: the tree names its roots right {seconds:.2f} s after the last answer{late}")
    assert seconds <= _TREE_AIM


def _returns(mesh: Mesh, echoes: Echoes, node: Node, measured: Measured) -> None:
    node.start()
    node.wait_ready(60)
    sweeps.introduce(mesh.nodes)
    _heals(mesh, echoes, [], f"{node.name} back", measured)


def _busiest_but_root(mesh: Mesh) -> Node:
    root = meshes.root_of(mesh.nodes)
    return meshes.busiest(node for node in mesh.nodes if node is not root)


@pytest.mark.parametrize(
    "edges",
    [pytest.param(meshes.ring(7), id="ring of 7"), pytest.param(meshes.grid(3, 3), id="grid of 3x3")],
)
def test_a_killed_node_is_routed_around_and_welcomed_back(lab: Lab, edges: list[Edge], measured: Measured) -> None:
    with _running(lab, edges) as (mesh, echoes):
        victim = _busiest_but_root(mesh)
        victim.kill()
        _heals(mesh, echoes, [victim], f"busiest node {victim.name} killed", measured)
        _returns(mesh, echoes, victim, measured)


def test_the_death_of_the_root_leaves_a_mesh_with_another_one(lab: Lab, measured: Measured) -> None:
    with _running(lab, meshes.tangle(10, chords=5, seed=1)) as (mesh, echoes):
        root = meshes.root_of(mesh.nodes)
        root.kill()
        _heals(mesh, echoes, [root], f"root {root.name} killed", measured)
        _settles(mesh, [root], "root killed", measured)
        _returns(mesh, echoes, root, measured)
        _settles(mesh, [], "root back", measured)


def test_a_partition_leaves_two_meshes_and_its_end_one(lab: Lab, measured: Measured) -> None:
    """Two cables of a ring of six go down; a side whose own end is down knows at once, the other one hears silence."""
    with _running(lab, meshes.ring(6)) as (mesh, echoes):
        cut = [mesh.cables[0], mesh.cables[3]]
        for cable in cut:
            cable.cut()
        _heals(mesh, echoes, cut, "within each half", measured)
        _settles(mesh, cut, "partition", measured)
        for cable in cut:
            cable.mend()
        _heals(mesh, echoes, [], "merged", measured)
        _settles(mesh, [], "merge", measured)


def test_two_neighbours_whose_cable_is_cut_go_on_by_the_third(lab: Lab, measured: Measured) -> None:
    """A path that breaks at its origin: the session was established, and neither end has anybody to tell it."""
    with _running(lab, meshes.ring(3)) as (mesh, echoes):
        mesh.cables[0].cut()
        _heals(mesh, echoes, [mesh.cables[0]], "the cable between two neighbours cut", measured)


def test_a_path_that_swallows_long_datagrams_stalls_no_stream(lab: Lab, measured: Measured) -> None:
    """The path is narrower than configured and says nothing; the TUN has the room for what does not fit."""
    mesh = Mesh(lab, meshes.row(3), settings={"tun": {"mtu": 1390}})
    first, last = mesh.nodes[0], mesh.nodes[-1]
    with relayed(mesh.cables[1]) as relay:
        mesh.start()
        sweeps.introduce(mesh.nodes)
        with sweeps.echoes(mesh.nodes) as echoes:
            echoes.all_answer(mesh.pairs(), _START_LIMIT)
            wide = traffic.transfer(first.host, last.host, last.address, 1_000_000)
            for direction in (relay.there, relay.back):
                direction.longest = 1400
            there = traffic.transfer(first.host, last.host, last.address, 1_000_000)
            back = traffic.transfer(last.host, first.host, first.address, 1_000_000)
    measured(f"1 MB in {wide.seconds:.1f} s, narrow {there.seconds:.1f} s, and back {back.seconds:.1f} s")
    assert wide.intact
    assert there.intact
    assert back.intact


def test_a_tree_does_not_flap_on_links_that_merely_lose(lab: Lab, is_long: bool, measured: Measured) -> None:
    if not is_long:
        pytest.skip("watches a tree for a minute: set MESHNODE_LONG=1")
    mesh, foot = _diamond(lab)
    with relayed(mesh.cables[2], delay=0.005) as left, relayed(mesh.cables[3], delay=0.005) as right:
        mesh.start()
        mesh.wait_linked()
        for relay in (left, right):
            relay.both(delay=0.005, loss=0.2)
        parents = []
        for _ in range(60):
            pause(1)
            parents.append(meshes.parent_of(foot, mesh.nodes))
        changes = sum(1 for before, after in pairwise(parents) if before is not after)
    measured(f"{changes} changes of parent in a minute with 20 % loss on both ways")
    assert changes <= 2
    assert None not in parents


def test_a_short_cut_of_the_only_cable_costs_little_more_than_its_length(lab: Lab, measured: Measured) -> None:
    with _running(lab, meshes.row(4)) as (mesh, echoes):
        cable = mesh.cables[1]
        cable.cut()
        pause(3)
        assert echoes.sweep(mesh.pairs([cable]), 5).silent == []
        cable.mend()
        _heals(mesh, echoes, [], "after a cut of some seconds", measured)


def test_every_node_of_a_mesh_may_die_once(lab: Lab, is_long: bool, measured: Measured) -> None:
    if not is_long:
        pytest.skip("takes minutes: set MESHNODE_LONG=1")
    with _running(lab, meshes.tangle(10, chords=5, seed=3)) as (mesh, echoes):
        for victim in mesh.nodes:
            victim.kill()
            _heals(mesh, echoes, [victim], f"{victim.name} killed", measured)
            _returns(mesh, echoes, victim, measured)


# A diamond: the node at its foot may reach the top by either side; its address is not the smallest one.
_TOP, _SIDES, _FOOT = 0, (1, 2), 3
_DIAMOND = [(1, 0), (2, 0), (3, 1), (3, 2)]


def _diamond(lab: Lab) -> tuple[Mesh, Node]:
    mesh = Mesh(lab, _DIAMOND)
    return mesh, mesh.nodes[_FOOT]


@pytest.mark.parametrize(
    ("ill", "loss", "delay"),
    [
        pytest.param("both", 1.0, 0.0, id="dead without a word"),
        pytest.param("both", 0.3, 0.0, id="30 % loss"),
        pytest.param("there", 0.3, 0.0, id="30 % loss away from us"),
        pytest.param("back", 0.3, 0.0, id="30 % loss towards us"),
        pytest.param("both", 0.0, 0.08, id="80 ms more"),
    ],
)
def test_a_parent_whose_link_turns_bad_is_left(
    lab: Lab, ill: str, loss: float, delay: float, is_long: bool, measured: Measured
) -> None:
    """Both ways are measurably slow to begin with: unmeasured links are never compared (spec 03 section 3.5)."""
    if not is_long and loss < 1.0:
        pytest.skip("waits for smoothed measurements: set MESHNODE_LONG=1")
    mesh, foot = _diamond(lab)
    with relayed(mesh.cables[2], delay=0.005) as left, relayed(mesh.cables[3], delay=0.005) as right:
        mesh.start()
        mesh.wait_linked()
        pause(35 if is_long else 5)  # its hold-down is over then
        parent = wait_until(lambda: meshes.parent_of(foot, mesh.nodes), 20, "the foot has a parent")
        relay = left if parent is mesh.nodes[1] else right
        for direction in [relay.there, relay.back] if ill == "both" else [getattr(relay, ill)]:
            direction.delay, direction.loss = direction.delay + delay, loss
        with sweeps.echoes(mesh.nodes) as echoes:
            sweeps.introduce(mesh.nodes)
            begin = time.monotonic()
            wait_until(lambda: meshes.parent_of(foot, mesh.nodes) is not parent, 120, "the bad parent is left")
            seconds = time.monotonic() - begin
            _heals(mesh, echoes, [], "pairs afterwards", measured)
    assert seconds <= (_TREE_AIM if loss == 1.0 else 20)
    measured(f"left its parent after {seconds:.1f} s (aim 20 s, 10 s for a dead one)")
