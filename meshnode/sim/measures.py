"""Figures of a mesh: percentiles, stretch, and what flowed."""

from __future__ import annotations

from collections.abc import Sequence

from .invariants import follow
from .topology import distances
from .world import World

PAIRS = 1000
"""How many routes are followed to measure stretch."""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` percent lie; nearest rank. `values` must not be empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 100) - 1))]


def summary(values: Sequence[float]) -> dict[str, float] | None:
    """Median, 95th percentile and maximum."""
    if not values:
        return None
    return {name: round(percentile(values, share), 4) for name, share in (("p50", 50), ("p95", 95), ("max", 100))}


def stretches(world: World, pairs: int = PAIRS) -> list[float]:
    """Length of the route between random machines over that of the shortest one; unreachable ones are left out."""
    dice = world.dice("stretch")
    parts = [part for part in world.parts if len(part) > 1]
    result: list[float] = []
    shortest: dict[int, dict[int, int]] = {}
    adjacency = _adjacency(world)
    for _ in range(pairs if parts else 0):
        part = dice.choices(parts, [len(part) for part in parts])[0]
        a, b = dice.sample(part, 2)
        hops = follow(world, world.machines[a], world.machines[b])
        if hops is not None:
            if a not in shortest:
                shortest[a] = distances(a, adjacency)
            result.append(hops / shortest[a][b])
    return result


def _adjacency(world: World) -> dict[int, list[int]]:
    running = {i for part in world.parts for i in part}
    adjacency: dict[int, list[int]] = {i: [] for i in sorted(running)}
    names = world.plan.names
    for a, b in world.edges:
        if a in running and b in running and world.medium.joined(names[a], names[b]):
            adjacency[a].append(b)
            adjacency[b].append(a)
    return adjacency
