"""Replay protection for received counters (spec 01 section 2.5)."""

from __future__ import annotations

WINDOW = 2048


class ReplayWindow:
    """Which of the last 2,048 counters were received.

    Kept as the highest counter and the gaps below it, so that the in-order case is one assignment: code that sees
    `counter == highest + 1` may set `highest = counter` and leave the rest alone. Bit i of `gaps` is for counter
    `base + i`. Gaps that fell out of the window stay until the next jump; `check` looks at the distance first, so they
    cannot come back. A peer that jumps with every frame costs no more than one that does not.
    """

    __slots__ = ("base", "gaps", "highest")

    highest: int
    base: int
    gaps: int

    def __init__(self) -> None:
        self.highest = -1
        self.base = 0
        self.gaps = 0

    def check(self, counter: int) -> bool:
        """Tell whether a frame with this counter may be new. Changes nothing."""
        if counter > self.highest:
            return True
        if self.highest - counter >= WINDOW or counter < self.base:
            return False
        return bool(self.gaps >> (counter - self.base) & 1)

    def accept(self, counter: int) -> None:
        """Record the counter of an authenticated frame that passed `check`."""
        highest = self.highest
        if counter <= highest:
            if counter >= self.base:
                self.gaps &= ~(1 << (counter - self.base))
            return
        self.highest = counter
        if counter == highest + 1:
            return
        oldest = max(counter - WINDOW + 1, 0)
        start = max(highest + 1, oldest)
        if oldest > self.base:
            self.gaps >>= oldest - self.base
            self.base = oldest
        if not self.gaps:
            self.base = start
        self.gaps |= ((1 << (counter - start)) - 1) << (start - self.base)

    def __repr__(self) -> str:
        return f"<ReplayWindow highest {self.highest}, {self.gaps.bit_count()} gaps>"
