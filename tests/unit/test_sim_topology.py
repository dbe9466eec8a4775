"""Shapes of meshes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sim import topology
from meshnode.sim.topology import SHAPES, Graph, components, distances, neighbours_of


def parts(graph: Graph) -> list[list[int]]:
    return components(range(graph.size), neighbours_of(range(graph.size), graph.edges))


def degrees(graph: Graph) -> list[int]:
    return [len(others) for others in neighbours_of(range(graph.size), graph.edges).values()]


def test_simple_shapes_have_the_edges_one_draws() -> None:
    assert topology.chain(4).edges == [(0, 1), (1, 2), (2, 3)]
    assert topology.ring(4).edges == [(0, 1), (0, 3), (1, 2), (2, 3)]
    assert topology.star(4).edges == [(0, 1), (0, 2), (0, 3)]
    assert topology.full(4).edges == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert topology.tree(6, 2).edges == [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5)]
    assert topology.grid(2, 3).edges == [(0, 1), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (4, 5)]


def test_a_ring_of_two_has_one_link() -> None:
    assert topology.ring(2).edges == [(0, 1)]


@given(st.integers(2, 120), st.floats(1, 10), st.integers(0, 1000))
def test_random_geometric_graphs_are_connected_and_as_dense_as_asked(size: int, degree: float, seed: int) -> None:
    graph = topology.random_geometric(size, degree, Random(seed))
    assert len(parts(graph)) == 1
    assert len(graph.places) == size
    wanted = min(round(size * degree / 2), size * (size - 1) // 2)
    assert len(graph.edges) <= max(wanted, 0) + size


def test_a_large_random_geometric_graph_has_the_mean_degree_asked_for() -> None:
    graph = topology.random_geometric(1000, 8, Random(1))
    assert sum(degrees(graph)) / 1000 == pytest.approx(8, abs=0.1)


def test_scale_free_graphs_have_hubs() -> None:
    graph = topology.scale_free(300, 2, Random(1))
    assert len(parts(graph)) == 1
    assert max(degrees(graph)) > 15
    assert min(degrees(graph)) >= 2


@given(st.integers(4, 80), st.floats(0, 1), st.integers(0, 1000))
def test_small_worlds_are_connected(size: int, rewire: float, seed: int) -> None:
    assert len(parts(topology.watts_strogatz(size, 4, rewire, Random(seed)))) == 1


def test_a_small_world_without_rewiring_is_a_ring_of_neighbours() -> None:
    assert degrees(topology.watts_strogatz(20, 4, 0.0, Random(1))) == [4] * 20


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_every_shape_is_the_same_for_the_same_dice(kind: str) -> None:
    defaults, build = SHAPES[kind]
    parameters = {name: 4.0 if value is None else value for name, value in defaults.items()}
    assert build(parameters, Random(5)) == build(parameters, Random(5))


def test_distances_are_fewest_hops() -> None:
    graph = topology.grid(3, 3)
    assert distances(0, neighbours_of(range(9), graph.edges))[8] == 4


def test_doubles_and_loops_are_no_links() -> None:
    assert Graph.of(3, [(1, 0), (0, 1), (2, 2), (1, 2)]).edges == [(0, 1), (1, 2)]
