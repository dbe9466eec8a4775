"""Leaving a parent whose link has turned bad, or for a much shorter way (spec 03 section 3.5 leaves this to us).

The evaluation of section 3.5 wants a new parent to be better by a share of the whole effective depth, and holds still
for long after any change. That keeps a tree quiet, but deep in it a link may lose a third of its frames and still not
be left, and a new link that closes a ring is passed over for minutes. Here a lasting difference is enough, if it is
larger than what the measurements are uncertain by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshnode.mesh.coordinates import Coordinates, NodeAddr
from meshnode.mesh.mmp.quality import CostRange

MARGIN = 0.15
SHORTCUT = 2  # hops
PERSISTENCE = 3.0
"""Seconds for which the difference must be seen at every look."""


class ParentReview:
    """Compares the parent with the alternatives, every now and then. Times are monotonic seconds."""

    __slots__ = ("_cost_range", "_since")

    def __init__(self, cost_range: Callable[[NodeAddr], CostRange | None]) -> None:
        self._cost_range = cost_range
        self._since: float | None = None

    def lasting_choice(
        self, me: NodeAddr, parent: NodeAddr, paths: Mapping[NodeAddr, Coordinates], now: float
    ) -> NodeAddr | None:
        """The peer to hang below instead of `parent`, once it has been the better one for long enough.

        `paths` are the announced coordinates of the trusted peers; call this about once a second.
        """
        best = self._clearly_better(me, parent, paths)
        if best is None:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= PERSISTENCE:
            self._since = None
            return best
        return None

    def _clearly_better(self, me: NodeAddr, parent: NodeAddr, paths: Mapping[NodeAddr, Coordinates]) -> NodeAddr | None:
        """The best of the peers that are surely better than the parent, if there is one."""
        present, cost = paths.get(parent), self._cost_range(parent)
        if present is None or cost is None:
            return None
        limit = cost.low - MARGIN
        alternatives = [
            (worth, address)
            for address, path in paths.items()
            if path[-1] == present[-1] and me not in path and address != parent
            if (worth := self._worth(address, len(path) - len(present), limit)) is not None
        ]
        return min(alternatives, default=(0.0, None))[1]

    def _worth(self, address: NodeAddr, deeper: int, limit: float) -> float | None:
        """The cost of hanging below `address`, which is `deeper` in the tree; None when it is not surely below `limit`.

        Either the link is better even at worst, or the way is so much shorter that its likely cost will do.
        """
        cost = self._cost_range(address)
        if cost is None:
            return None
        link = cost.steady if deeper <= -SHORTCUT else cost.high
        worth = deeper + link
        return worth if worth < limit and (deeper <= -SHORTCUT or link < limit) else None
