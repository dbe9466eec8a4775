"""Leaving a parent whose link has turned bad, or for a much shorter way (spec 03 section 3.5 leaves this to us).

The evaluation of section 3.5 wants a new parent to be better by a share of the whole effective depth, and holds still
for long after any change. That keeps a tree quiet, but deep in it a link may lose a third of its frames and still not
be left, and a new link that closes a ring is passed over for minutes. Here a lasting difference is enough, if it is
larger than what the measurements are uncertain by.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from meshnode.mesh.coordinates import Coordinates, NodeAddr
from meshnode.mesh.mmp.quality import CostRange

MARGIN = 0.15
SHORTCUT = 2  # hops
PERSISTENCE, PERSISTENCE_OF_SHORTCUTS = 3.0, 1.5
"""Seconds for which the difference must be seen at every look."""

MAX_ESCAPES, ESCAPE_WINDOW = 3, 120.0


class ParentReview:
    """Compares the parent with the alternatives, every now and then. Times are monotonic seconds."""

    __slots__ = ("_cost_range", "_escapes", "_since")

    def __init__(self, cost_range: Callable[[NodeAddr], CostRange | None]) -> None:
        self._cost_range = cost_range
        self._since: float | None = None
        self._escapes: deque[float] = deque(maxlen=MAX_ESCAPES)

    def lasting_choice(
        self, me: NodeAddr, parent: NodeAddr, paths: Mapping[NodeAddr, Coordinates], now: float
    ) -> NodeAddr | None:
        """The peer to hang below instead of `parent`, once it has been the better one for long enough.

        `paths` are the announced coordinates of the trusted peers; call this about once a second. Whoever asks follows
        the advice: after a few times in short succession there is none for a while.
        """
        best = self._clearly_better(me, parent, paths)
        if best is None:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        shortcut = len(paths[parent]) - len(paths[best]) >= SHORTCUT
        if now - self._since < (PERSISTENCE_OF_SHORTCUTS if shortcut else PERSISTENCE):
            return None
        if len(self._escapes) == MAX_ESCAPES and now - self._escapes[0] < ESCAPE_WINDOW:
            return None
        self._since = None
        self._escapes.append(now)
        return best

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
        return min(alternatives)[1] if alternatives else None

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
