"""Nodes that do not keep to the rules, and somebody who listens on a wire."""

from __future__ import annotations

from .world import World


class Misconduct:
    """The byzantine part of a scenario."""

    def __init__(self, world: World) -> None:
        self._world = world
