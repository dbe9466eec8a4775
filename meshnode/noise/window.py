"""Replay protection for received counters (spec 01 section 2.5)."""

from __future__ import annotations

WINDOW = 2048
_PRUNE_ABOVE = 2 * WINDOW


class ReplayWindow:
    """Which of the last 2,048 counters were received.

    Kept as the highest counter and the set of gaps below it, so that the in-order case is one assignment: code that
    sees `counter == highest + 1` may set `highest = counter` and leave the rest alone. Gaps that fell out of the window
    stay in the set until the next prune; `check` looks at the distance first, so they cannot come back.
    """

    __slots__ = ("highest", "missing")

    highest: int
    missing: set[int]

    def __init__(self) -> None:
        self.highest = -1
        self.missing = set()

    def check(self, counter: int) -> bool:
        """Tell whether a frame with this counter may be new. Changes nothing."""
        if counter > self.highest:
            return True
        return self.highest - counter < WINDOW and counter in self.missing

    def accept(self, counter: int) -> None:
        """Record the counter of an authenticated frame that passed `check`."""
        highest, missing = self.highest, self.missing
        if counter <= highest:
            missing.discard(counter)
            return
        self.highest = counter
        if counter == highest + 1:
            return
        oldest = counter - WINDOW + 1
        if oldest > highest:
            missing.clear()
        missing.update(range(max(highest + 1, oldest), counter))
        if len(missing) > _PRUNE_ABOVE:
            missing.difference_update([gap for gap in missing if gap < oldest])

    def __repr__(self) -> str:
        return f"<ReplayWindow highest {self.highest}, {len(self.missing)} gaps>"
