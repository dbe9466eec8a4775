"""Leaving a parent whose link has turned bad (spec 03 section 3.5 leaves this to us).

The evaluation of section 3.5 wants a new parent to be better by a share of the whole effective depth. That keeps a tree
quiet, but deep in it a link may lose a third of its frames and still not be left. Here a lasting difference is enough,
if it is larger than what the measurements are uncertain by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshnode.mesh.coordinates import Coordinates, NodeAddr
from meshnode.mesh.mmp.quality import CostRange

MARGIN = 0.15
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
        """The alternative that at worst is better than the parent is at best, with the better link of the two."""
        present, cost = paths.get(parent), self._cost_range(parent)
        if present is None or cost is None:
            return None
        limit = cost.low - MARGIN
        alternatives = [
            (len(path) - len(present) + alternative.high, address)
            for address, path in paths.items()
            if path[-1] == present[-1] and me not in path and address != parent
            if (alternative := self._cost_range(address)) is not None and alternative.high < limit
        ]
        best = min(alternatives, default=None)
        return None if best is None or best[0] >= limit else best[1]
