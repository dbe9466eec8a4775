"""Noticing peers that keep to themselves whom they reach: nobody is found through them, and nobody below them.

Whoever hangs below a peer finds others by the peer's filters, and is found by them. Filters have no false negatives, so
one that reached us holds at least those that its sender itself hangs below. A peer whose filter lacks one of them
leaves out more, by a fault or on purpose, and is no good as a parent while there are others. What it tells others and
not us cannot be seen from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.mesh.bloom import member_mask
from meshnode.mesh.coordinates import Coordinates, NodeAddr
from meshnode.mesh.neighbour import Neighbour, Neighbours

SETTLING_SECS = 10.0
"""How long after a peer moved its filter may lack those it hangs below now: filters travel hop by hop."""


@dataclass(slots=True)
class _Look:
    """What a peer announced when it was looked at, and since when its filter has lacked somebody, if it does."""

    path: Coordinates
    filter: int
    since: float | None


class Withholding:
    """Keeps `Neighbour.withholds` up to date."""

    __slots__ = ("_looks", "_me", "_neighbours")

    def __init__(self, me: NodeAddr, neighbours: Neighbours) -> None:
        self._me = me
        self._neighbours = neighbours
        self._looks: dict[NodeAddr, _Look] = {}

    def look(self, now: float) -> bool:
        """Judge by what was announced so far; once a second. True when there is a new verdict."""
        looks: dict[NodeAddr, _Look] = {}
        is_news = False
        for address, neighbour in self._neighbours.items():
            look = self._look_at(neighbour, self._looks.get(address), now)
            if look is not None:
                looks[address] = look
            withholds = look is not None and look.since is not None and now - look.since >= SETTLING_SECS
            is_news |= withholds != neighbour.withholds
            neighbour.withholds = withholds
        self._looks = looks
        return is_news

    def _look_at(self, neighbour: Neighbour, before: _Look | None, now: float) -> _Look | None:
        if neighbour.position is None or neighbour.filter is None:
            return None
        path, bits = neighbour.position.coordinates, neighbour.filter
        if before is not None and before.filter is bits and before.path == path:
            return before
        # What a peer has from us, it does not tell us again.
        if self._me in path or all(neighbour.claims(member_mask(ancestor)) for ancestor in path[1:]):
            since = None
        elif before is not None and before.since is not None and before.path == path:
            since = before.since
        else:
            since = now
        return _Look(path, bits, since)
