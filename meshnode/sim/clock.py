"""Virtual time for a whole mesh: one heap of calls, so that a thousand nodes cost no more per call than one."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, TypeAlias

_MANY = 4096


class VirtualCall:
    """A timer that was set; the clock skips it once it is cancelled."""

    __slots__ = ("_clock", "_function", "due")

    def __init__(self, clock: VirtualClock, due: float, function: Callable[[], None]) -> None:
        self._clock = clock
        self._function: Callable[[], None] | None = function
        self.due = due

    def active(self) -> bool:
        """Whether the call is still to come."""
        return self._function is not None

    def cancel(self) -> None:
        """Do not call. Cancelling what is over does nothing."""
        if self._function is not None:
            self._function = None
            self._clock.cancelled(self)

    def fire(self) -> None:
        """Call now; for the clock."""
        function, self._function = self._function, None
        if function is not None:
            function()

    def getTime(self) -> float:  # noqa: N802 - the name timers of an event loop have
        """When the call is due."""
        return self.due


_Entry: TypeAlias = tuple[float, int, Callable[[Any], None], Any]
"""When, running number (calls at one moment keep their order), what, and with what."""


def _fire(call: VirtualCall) -> None:
    call.fire()


class VirtualClock:
    """Seconds that pass only in `run_until`. The shape of an event loop's clock, as far as a node uses it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._heap: list[_Entry] = []
        self._number = 0
        self._cancelled = 0
        self.calls = 0

    def seconds(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def callLater(self, delay: float, function: Callable[[], None]) -> VirtualCall:  # noqa: N802
        """Call `function` in `delay` seconds, unless cancelled."""
        call = VirtualCall(self, self._now + delay, function)
        self.at(call.due, _fire, call)
        return call

    def at(self, when: float, function: Callable[[Any], None], argument: Any) -> None:
        """Call `function(argument)` at `when`; this cannot be cancelled, and is cheaper for it."""
        self._number += 1
        heappush(self._heap, (when, self._number, function, argument))

    def cancelled(self, call: VirtualCall) -> None:
        """Note a cancelled call; when they are the better half of the heap they are thrown out."""
        self._cancelled += 1
        if self._cancelled > _MANY and 2 * self._cancelled > len(self._heap):
            # In place: `run_until` may be iterating further up the stack.
            self._heap[:] = [entry for entry in self._heap if entry[2] is not _fire or entry[3].active()]
            heapify(self._heap)
            self._cancelled = 0

    def run_until(self, end: float) -> None:
        """Make every call due up to and including `end`, in order of time, then of having been asked for."""
        heap = self._heap
        calls = 0
        while heap and heap[0][0] <= end:
            when, _number, function, argument = heappop(heap)
            self._now = when if when > self._now else self._now
            function(argument)
            calls += 1
        self.calls += calls
        self._now = max(self._now, end)

    def __len__(self) -> int:
        """Calls that wait, cancelled ones included."""
        return len(self._heap)
