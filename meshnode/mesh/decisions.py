"""Which peer a datagram leaves through, remembered until something changes (spec 03 section 8)."""

from __future__ import annotations

from collections.abc import Callable

from meshnode.mesh.bloom import member_mask
from meshnode.mesh.coordinates import CoordinateCache, Coordinates, NodeAddr
from meshnode.mesh.mmp.quality import CostRange
from meshnode.mesh.neighbour import Neighbour, Neighbours
from meshnode.mesh.next_hop import nearest_hop
from meshnode.mesh.tree import Tree

MAX_DECISIONS = 4096
POOR_COST, GOOD_COST = 2.2, 1.6
COST_OF_A_HOP = 1.0


class Decisions:
    """The routing decisions of one node, one per destination and second."""

    __slots__ = ("_cache", "_cost_range", "_link_cost", "_made", "_neighbours", "_previous", "_tree")

    def __init__(
        self,
        tree: Tree,
        neighbours: Neighbours,
        cache: CoordinateCache,
        link_cost: Callable[[NodeAddr], float | None],
        cost_range: Callable[[NodeAddr], CostRange | None],
    ) -> None:
        self._tree = tree
        self._neighbours = neighbours
        self._cache = cache
        self._link_cost = link_cost
        self._cost_range = cost_range
        self._made: dict[NodeAddr, tuple[Coordinates, NodeAddr | None]] = {}
        self._previous = self._made

    def next_hop(self, destination: NodeAddr, now: float) -> NodeAddr | None:
        """The peer to forward to; None for ourselves and when no peer is known to be nearer."""
        direct = self._neighbours.get(destination)
        if direct is not None:
            good = direct.has_announced and not (direct.doubtful or direct.poor)
            return destination if good else self._detour(direct, now)
        coordinates = self._cache.get_and_touch(destination, now)
        return None if coordinates is None else self._decide(destination, coordinates)

    def onward_hop(self, destination: NodeAddr, came_from: NodeAddr, now: float) -> NodeAddr | None:
        """The peer to relay to, never the one the datagram came from; None when no other is known to be nearer.

        A peer that sends us what we would send back to it knows other coordinates of the destination than we do, and
        nobody can say whose are old. Passed to and fro until it has used up its hops, the datagram would help neither.
        Without another way ours are forgotten, if they are not the destination's own words of a moment ago: the signal
        that follows makes the source look and teach us anew.
        """
        hop = self.next_hop(destination, now)
        if hop != came_from or hop is None:
            return hop
        direct = self._neighbours.get(destination)
        if direct is not None:
            return self._last_resort(direct) if destination != came_from else None
        coordinates = self._cache.get(destination, now)
        other = None if coordinates is None else self._nearest(coordinates, None, excluded=came_from)
        if other is None:
            self._cache.distrust(destination, now)
        return other

    def forget(self) -> None:
        """Something changed that decisions depend on."""
        if self._made:
            self._previous, self._made = self._made, {}

    def tick(self) -> None:
        """Once a second: link costs change all the time."""
        for address, neighbour in self._neighbours.items():
            cost = self._cost_range(address)
            neighbour.poor = cost is not None and (cost.recent > GOOD_COST if neighbour.poor else cost.low > POOR_COST)
        self._previous, self._made = self._made, {}

    def relays(self) -> set[NodeAddr]:
        """The peers that traffic for others was led through in this second and the last."""
        made = (*self._made.items(), *self._previous.items())
        return {hop for destination, (_, hop) in made if hop is not None and hop != destination}

    def is_stranded(self, destination: NodeAddr, now: float) -> bool:
        """Whether no peer that can be relied on is known to be nearer to a destination."""
        hop = self.next_hop(destination, now)
        return hop is None or not self._neighbours[hop].trusted

    def _detour(self, direct: Neighbour, now: float) -> NodeAddr | None:
        """The hop towards a direct peer whose link is not good: another peer if that promises more, else itself."""
        announced = None if direct.position is None else direct.position.coordinates
        known = self._cache.get_and_touch(direct.address, now)
        # What a peer tells us itself is the newest there is, unless it has fallen silent and may be elsewhere by now.
        coordinates = known or announced if direct.doubtful else announced or known
        hop = None if coordinates is None else self._decide(direct.address, coordinates)
        if hop is None:
            return self._last_resort(direct)
        if direct.doubtful or not direct.has_announced:
            return hop
        present, cost = self._cost_range(direct.address), self._link_cost(hop)
        worthwhile = present is not None and cost is not None and cost + COST_OF_A_HOP < present.low
        return hop if worthwhile else direct.address

    def _last_resort(self, direct: Neighbour) -> NodeAddr | None:
        """A direct peer that no other way is known to, unless it is lost while others claim to reach it.

        What is sent to a lost peer vanishes without a word; no way at all makes us, or the source, look for one.
        """
        if direct.trusted:
            return direct.address
        mask = member_mask(direct.address)
        sought = any(n.trusted and n.claims(mask) for n in self._neighbours.values())
        return None if sought else direct.address

    def hop_by(self, coordinates: Coordinates) -> NodeAddr | None:
        """The hop towards the owner of `coordinates`, were they true."""
        return nearest_hop(self._tree.coordinates, coordinates, self._neighbours, self._link_cost)

    def _decide(self, destination: NodeAddr, coordinates: Coordinates) -> NodeAddr | None:
        known = self._made.get(destination)
        if known is not None and known[0] is coordinates:
            return known[1]
        previous = self._previous.get(destination)
        favourite = None if previous is None else previous[1]
        hop = self._nearest(coordinates, favourite)
        if len(self._made) >= MAX_DECISIONS:
            self._made.clear()
        self._made[destination] = coordinates, hop
        return hop

    def _nearest(
        self, coordinates: Coordinates, favourite: NodeAddr | None, excluded: NodeAddr | None = None
    ) -> NodeAddr | None:
        mine = self._tree.coordinates
        return nearest_hop(mine, coordinates, self._neighbours, self._link_cost, favourite, excluded)
