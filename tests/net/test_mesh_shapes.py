"""Meshes of every shape find themselves: soon after the start every node reaches every other by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.rigs import meshes, sweeps, traffic
from tests.rigs.labs import Lab
from tests.rigs.meshes import Edge, Mesh

pytestmark = pytest.mark.net

_AIM, _ASSURED = 5.0, 10.0
_LIMIT = 45.0  # a busy machine with two cores starts ten nodes at once
_SHAPES = {
    "chain of 5": meshes.row(5),
    "ring of 7": meshes.ring(7),
    "grid of 3x3": meshes.grid(3, 3),
    "star of 10": meshes.star(10),
    "10 at random": meshes.tangle(10, chords=5, seed=1),
}
_LARGE = {
    "chain of 12": meshes.row(12),
    "ring of 16": meshes.ring(16),
    "grid of 4x4": meshes.grid(4, 4),
    "20 at random": meshes.tangle(20, chords=12, seed=2),
}


def _all_pairs_answer(lab: Lab, edges: list[Edge], measured: Callable[[str], None]) -> Mesh:
    mesh = Mesh(lab, edges)
    up = mesh.start()
    sweeps.introduce(mesh.nodes)
    with sweeps.echoes(mesh.nodes) as echoes:
        answers = echoes.all_answer(mesh.pairs(), _LIMIT * (1 + len(mesh.nodes) // 12))
        steady = echoes.lost(mesh.pairs(), rounds=4)
    late = "" if answers.slowest <= _AIM else f"  LATE, the aim is {_AIM:g} s"
    measured(f"all nodes up after {up:.1f} s, then {answers}{late}")
    assert steady == {}
    assert answers.slowest <= _ASSURED * (1 + len(mesh.nodes) // 12), answers.latest()
    return mesh


@pytest.mark.parametrize("shape", _SHAPES)
def test_every_pair_answers_soon_after_the_start(lab: Lab, shape: str, measured: Callable[[str], None]) -> None:
    mesh = _all_pairs_answer(lab, _SHAPES[shape], measured)
    first, last = mesh.nodes[0], mesh.nodes[-1]
    assert len(traffic.ping(first.host, f"{last.npub}.fips")) == 3
    assert mesh.wait_one_root(mesh.nodes, 10) < 10


@pytest.mark.parametrize("shape", _LARGE)
def test_every_pair_of_a_larger_mesh_answers(
    lab: Lab, shape: str, is_long: bool, measured: Callable[[str], None]
) -> None:
    if not is_long:
        pytest.skip("many processes: set MESHNODE_LONG=1")
    _all_pairs_answer(lab, _LARGE[shape], measured)


def test_a_stream_crosses_a_chain_of_five_intact(lab: Lab, measured: Callable[[str], None]) -> None:
    mesh = Mesh(lab, meshes.row(5))
    mesh.start()
    sweeps.introduce(mesh.nodes)
    first, last = mesh.nodes[0], mesh.nodes[-1]
    with sweeps.echoes(mesh.nodes) as echoes:
        echoes.all_answer([(first, last)], _LIMIT)
    done = traffic.transfer(first.host, last.host, last.address, 20_000_000)
    measured(f"20 MB over four links in {done.seconds:.2f} s")
    assert done.intact
    assert all(meshes.forwarded(node) > 1000 for node in mesh.nodes[1:-1])


def test_a_node_that_joins_late_is_found_by_all(lab: Lab, measured: Callable[[str], None]) -> None:
    mesh = Mesh(lab, meshes.star(10))
    *early, late = mesh.nodes
    for node in early:
        node.start()
    for node in early:
        node.wait_ready(60)
    sweeps.introduce(early)
    with sweeps.echoes(mesh.nodes) as echoes:
        echoes.all_answer(mesh.pairs(without=[late]), _LIMIT)
        late.start()
        late.wait_ready()
        sweeps.introduce(mesh.nodes)
        answers = echoes.all_answer([pair for pair in mesh.pairs() if late in pair], _LIMIT)
    measured(f"the tenth: {answers}")
    assert answers.slowest <= _ASSURED, answers.latest()
