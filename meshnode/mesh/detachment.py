"""Leaving a parent that is a black hole although nobody else we hear of will do (spec 03 section 3 leaves this to us).

Everybody we hear of may hang below ourselves, and yet there may be another way for some of them, which they do not take
as long as ours is shorter. So we let go and are root for a moment. Whoever below us hears of the old root from somebody
else goes there, and we follow. Where nobody does, we come back. Neighbours in the same position do so one after the
other, and the last one stays: when nobody but we hangs below the black hole, nothing is led through it.
"""

from __future__ import annotations

from collections.abc import Callable

from meshnode.mesh.bloom import member_mask
from meshnode.mesh.neighbour import Neighbour

LEAST_WAIT, SPREAD = 1.5, 4.0
ALOOF_SECS = 5.0


class Detachment:
    """Decides when to let go, once for each time that a parent is given up, and for how long."""

    __slots__ = ("_entropy", "_let_go", "_until", "_when")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._when: float | None = None
        self._until: float | None = None
        self._let_go: Neighbour | None = None

    def is_due(self, parent: Neighbour | None, now: float) -> bool:
        """Whether to become root now; `parent` is the black hole that we hang below, None if we do not."""
        if self._let_go is not None and not self._let_go.black_hole:
            self._let_go = None
        if parent is None or parent is self._let_go:
            self._when = None
        elif self._when is None:
            self._when = now + LEAST_WAIT + SPREAD * self._entropy(1)[0] / 255
        elif now >= self._when and leads_to_others(parent):
            self._when, self._let_go, self._until = None, parent, now + ALOOF_SECS
            return True
        return False

    def has_ended(self, now: float) -> bool:
        """Whether it is time to come back, if nothing better was found; told once."""
        ended = self._until is not None and now >= self._until
        if ended:
            self._until = None
        return ended


def leads_to_others(peer: Neighbour) -> bool:
    """Whether a peer claims to reach anybody but itself."""
    return peer.filter is not None and peer.filter & ~member_mask(peer.address) != 0
