"""Peers whose word about their own place is at odds with what others announce of them, and for how long.

After a change in the mesh somebody is behind for a moment, and whoever speaks about itself is right. Only a peer that
tells its neighbours different things stays at odds with them; were its word to count for ever, it could keep us out of
the tree in which everybody else is (spec 03 section 3.3: what is signed is the parent alone).
"""

from __future__ import annotations

from meshnode.mesh.coordinates import NodeAddr

PATIENCE = 8.0
"""Seconds for which a peer's word about itself counts against everybody else's."""

MEMORY = 30.0
"""After so many seconds without a contradiction the next one is a new one."""

MAX_DISPUTED = 1024


class Disputes:
    """When each disputed peer was first and last contradicted, the latest last."""

    __slots__ = ("_looked_at", "_times")

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._times: dict[NodeAddr, tuple[float, float]] = {}

    def is_believed(self, peer: NodeAddr, now: float) -> bool:
        """Note that `peer` is contradicted at this moment; whether its word still counts."""
        self._forget(now)
        begun = self._times.pop(peer, (now, now))[0]
        if len(self._times) >= MAX_DISPUTED:
            del self._times[next(iter(self._times))]
        self._times[peer] = begun, now
        return now - begun < PATIENCE

    def _forget(self, now: float) -> None:
        while self._times:
            longest_ago = next(iter(self._times))
            if now - self._times[longest_ago][1] <= MEMORY:
                return
            del self._times[longest_ago]

    def any_ended(self, now: float) -> bool:
        """Whether a peer's word ceased to count since this was last asked."""
        before, self._looked_at = self._looked_at, now
        return any(before < begun + PATIENCE <= now for begun, _ in self._times.values())
