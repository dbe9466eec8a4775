"""Whether the largest frames we send arrive, by the counts that the peer reports (spec 03 section 11.1).

A report tells how many frames arrived and not which, and their mean size says nothing where long ones go among many
short ones. But when fewer frames were lost than large ones were sent in that time, at least one of those has arrived.
Frames are counted for half a second at a time, and only while somebody claims that the large ones are too large.
"""

from __future__ import annotations

BATCH_SECS = 0.5
PATIENCE = 10.0
"""Seconds after which a batch that no report reached is given up: the peer began to count anew."""


class SizeEvidence:
    """One batch of frames at a time: `sent` says what left, `reported` what arrived. Sizes are bytes, whatever of."""

    __slots__ = ("_begun", "_count", "_highest", "_last", "_received", "_size")

    def __init__(self) -> None:
        self._highest = self._received = 0
        self._begun: float | None = None
        self._clear()

    def _clear(self) -> None:
        self._size = self._count = self._last = 0

    def sent(self, last_counter: int, sizes: list[int], now: float) -> None:
        """Frames of these sizes left, the last one with `last_counter`."""
        if self._begun is None or now - self._begun > BATCH_SECS:
            return
        largest = max(sizes)
        if largest > self._size:
            self._size, self._count = largest, 0
        if largest == self._size:
            self._count += sizes.count(largest)
            self._last = last_counter

    def reported(self, highest_counter: int, received: int, now: float) -> int | None:
        """The peer received so many frames in all; the size of which at least one has arrived since, if that shows."""
        began_anew = highest_counter < self._highest or received < self._received
        is_open = self._begun is not None and now - self._begun <= PATIENCE and not began_anew
        if is_open and (not self._count or highest_counter < self._last):
            return None  # nothing to judge yet, or it is still on its way
        lost = highest_counter - self._highest - (received - self._received)
        arrived = self._size if is_open and lost < self._count else None
        self._highest, self._received, self._begun = highest_counter, received, now
        self._clear()
        return arrived
