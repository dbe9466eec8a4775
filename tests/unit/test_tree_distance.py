"""Coordinates: distances every node must agree on, and the cache."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.mesh.coordinates import (
    INFINITE,
    MAX_LENGTH,
    CoordinateCache,
    common_suffix,
    distance,
    lowest_common_ancestor,
)
from tests.unit.mesh_rig import VECTORS, addr, path

ME = addr(255)


def cache(capacity: int = 10, ttl: float = 300) -> CoordinateCache:
    return CoordinateCache(ME, capacity, ttl)


@pytest.mark.parametrize("vector", VECTORS["tree_distance"], ids=lambda v: f"{v['a']} {v['b']}")
def test_distances(vector: dict[str, Any]) -> None:
    """Spec 03, section 4."""
    a, b = path(vector["a"]), path(vector["b"])
    expected = INFINITE if vector["distance"] is None else vector["distance"]
    assert distance(a, b) == distance(b, a) == expected
    assert common_suffix(a, b) == vector["common_suffix_len"]
    assert lowest_common_ancestor(a, b) == (None if vector["lca"] is None else addr(vector["lca"]))


def test_an_entry_is_valid_up_to_its_expiry() -> None:
    """Spec 03, section 6.1."""
    store = cache(ttl=300)
    assert store.insert(addr(1), path([1, 0]), 1000.0)
    assert store.get(addr(1), 1300.0) == path([1, 0])
    assert store.get(addr(1), 1300.1) is None
    assert store.peek(addr(1)) == path([1, 0])


def test_only_touching_renews() -> None:
    """Spec 03, section 6.1."""
    store = cache(ttl=300)
    store.insert(addr(1), path([1, 0]), 0.0)
    store.get(addr(1), 250.0)
    assert store.get(addr(1), 301.0) is None
    store.insert(addr(1), path([1, 0]), 0.0)
    assert store.get_and_touch(addr(1), 250.0) == path([1, 0])
    assert store.get_and_touch(addr(1), 550.0) == path([1, 0])
    assert store.get_and_touch(addr(1), 850.1) is None
    assert len(store) == 0


def test_a_full_cache_evicts_the_least_recently_used() -> None:
    """Spec 03, section 6.1."""
    store = cache(capacity=2)
    store.insert(addr(1), path([1, 0]), 0.0)
    store.insert(addr(2), path([2, 0]), 1.0)
    store.get_and_touch(addr(1), 2.0)
    store.insert(addr(3), path([3, 0]), 3.0)
    assert [owner for owner, _ in store.items()] == [addr(1), addr(3)]


def test_updating_keeps_creation_time_and_path_mtu() -> None:
    store = cache()
    store.insert(addr(1), path([1, 0]), 10.0, path_mtu=1280)
    store.insert(addr(1), path([1, 2, 0]), 20.0)
    (_, entry), *_ = store.items()
    assert (entry.coordinates, entry.created, entry.last_used, entry.path_mtu) == (path([1, 2, 0]), 10.0, 20.0, 1280)


@pytest.mark.parametrize(
    ("owner", "coordinates"),
    [(addr(1), path([2, 0])), (ME, [ME, addr(0)]), (addr(1), []), (addr(1), [addr(1)] * (MAX_LENGTH + 1))],
    ids=["another's list", "our own address", "no list", "a list without end"],
)
def test_implausible_hints_are_refused(owner: bytes, coordinates: list[bytes]) -> None:
    store = cache()
    assert not store.insert(owner, coordinates, 0.0)
    assert len(store) == 0


def test_invalidation_by_content() -> None:
    store = cache()
    for coordinates in ([1, 9, 0], [2, 0], [3, 7]):
        store.insert(addr(coordinates[0]), path(coordinates), 0.0)
    store.drop_through(addr(9))
    assert [owner for owner, _ in store.items()] == [addr(2), addr(3)]
    store.drop_foreign(addr(0))
    assert [owner for owner, _ in store.items()] == [addr(2)]
    store.remove(addr(2))
    store.remove(addr(2))
    assert len(store) == 0


paths = st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True).map(path)


@given(paths, paths, paths)
def test_distance_is_a_metric_within_one_tree(a: list[bytes], b: list[bytes], c: list[bytes]) -> None:
    root = addr(9)
    a, b, c = [*a, root], [*b, root], [*c, root]
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a) < INFINITE
    assert distance(a, c) <= distance(a, b) + distance(b, c)
