"""The routing decision and the names of its outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.mesh.bloom import filter_of
from meshnode.mesh.coordinates import distance
from meshnode.mesh.neighbour import Neighbour, Neighbours, Position
from meshnode.mesh.next_hop import classify, greedy_hop, nearest_hop
from tests.unit.mesh_rig import VECTORS, addr, identity, path

SOMEBODY = identity(1).peer


def neighbours(*coordinates: list[int], knowing: dict[int, list[int]] | None = None) -> Neighbours:
    """Peers at the given places; `knowing` gives some of them a filter."""
    table: Neighbours = {}
    for places in coordinates:
        own = path(places)
        members = (knowing or {}).get(places[0])
        table[own[0]] = Neighbour(
            SOMEBODY,
            1472,
            position=Position(1, 0, own[min(1, len(own) - 1)], [], own),
            filter=None if members is None else filter_of(path(members)),
        )
    return table


@pytest.mark.parametrize("vector", VECTORS["greedy_next_hop"], ids=lambda v: v["upstream_test"])
def test_greedy_choice(vector: dict[str, Any]) -> None:
    paths = {addr(c[0]): path(c) for c in vector["peer_coords"]}
    expected = None if vector["next_hop"] is None else addr(vector["next_hop"])
    mine, destination = path(vector["my_coords"]), path(vector["dest_coords"])
    assert greedy_hop(mine, destination, paths) == expected
    assert nearest_hop(mine, destination, neighbours(*vector["peer_coords"]), lambda _: None) == expected


@pytest.mark.parametrize("vector", VECTORS["route_class"], ids=lambda v: v["upstream_test"])
def test_route_classes(vector: dict[str, Any]) -> None:
    chosen = classify(
        path(vector["my_coords"]),
        addr(vector["dest"]),
        None if vector["dest_coords"] is None else path(vector["dest_coords"]),
        addr(vector["chosen_peer"]),
        None if vector["peer_coords"] is None else path(vector["peer_coords"]),
    )
    assert chosen.value == vector["route_class"]


def test_a_cheap_link_beats_a_near_peer_among_those_that_know() -> None:
    table = neighbours([3, 1, 0], [4, 0], knowing={3: [7], 4: [7]})
    costs = {addr(3): 5.0, addr(4): 1.5}
    mine, destination = path([9, 8, 0]), path([7, 3, 1, 0])
    assert nearest_hop(mine, destination, table, costs.get) == addr(4)
    assert nearest_hop(mine, destination, table, lambda _: None) == addr(3)


def test_unmeasured_links_count_as_the_cheapest() -> None:
    table = neighbours([3, 0], [4, 0], knowing={3: [7], 4: [7]})
    costs = {addr(3): 1.01}
    assert nearest_hop(path([9, 8, 0]), path([7, 0]), table, costs.get) == addr(4)


def test_a_peer_that_knows_but_is_not_nearer_is_passed_over() -> None:
    table = neighbours([3, 9, 0], [9, 0], knowing={3: [7]})
    assert nearest_hop(path([2, 9, 0]), path([7, 0]), table, lambda _: None) == addr(9)


def test_across_trees_only_a_filter_can_lead() -> None:
    mine, destination = path([9, 2]), path([7, 0])
    assert nearest_hop(mine, destination, neighbours([3, 0]), lambda _: None) is None
    assert nearest_hop(mine, destination, neighbours([3, 0], knowing={3: [7]}), lambda _: None) == addr(3)


def test_an_excluded_peer_leaves_the_next_best_one() -> None:
    table = neighbours([3, 0], [4, 0], knowing={3: [7], 4: [7]})
    mine, destination = path([9, 8, 0]), path([7, 0])
    assert nearest_hop(mine, destination, table, lambda _: None) == addr(3)
    assert nearest_hop(mine, destination, table, lambda _: None, excluded=addr(3)) == addr(4)
    del table[addr(4)]
    assert nearest_hop(mine, destination, table, lambda _: None, excluded=addr(3)) is None


tree_path = st.lists(st.integers(1, 8), max_size=4, unique=True).map(lambda nodes: [*nodes, 0])


@given(tree_path, tree_path, st.lists(tree_path, max_size=5), st.sets(st.integers(1, 8)))
def test_every_hop_is_strictly_nearer(mine: list[int], goal: list[int], peers: list[list[int]], know: set[int]) -> None:
    """Spec 03, section 8."""
    mine, goal = [50, *mine], [60, *goal]
    places = [[100 + n, *places] for n, places in enumerate(peers)]
    table = neighbours(*places, knowing={100 + n: [60] for n in know})
    hop = nearest_hop(path(mine), path(goal), table, lambda _: None)
    if hop is not None:
        position = table[hop].position
        assert position is not None
        assert distance(position.coordinates, path(goal)) < distance(path(mine), path(goal))


def test_a_black_hole_is_the_last_choice_among_the_nearer_ones_and_none_for_being_dear() -> None:
    table = neighbours([3, 7, 0], [4, 0], knowing={3: [7], 4: [7]})
    mine, destination = path([9, 8, 0]), path([7, 0])
    assert nearest_hop(mine, destination, table, lambda _: None) == addr(3)
    table[addr(3)].black_hole = True
    assert nearest_hop(mine, destination, table, lambda _: None) == addr(4)
    table[addr(4)].doubtful = True
    assert nearest_hop(mine, destination, table, lambda _: None) == addr(4)
    table[addr(4)].trusted = False
    assert nearest_hop(mine, destination, table, lambda _: None) == addr(3)
    del table[addr(4)]
    assert nearest_hop(mine, destination, table, lambda _: None) == addr(3)
