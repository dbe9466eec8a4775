"""The one timer of a node."""

from __future__ import annotations

from collections.abc import Callable

from .surroundings import Clock, DelayedCall

ASLEEP_SECS = 5.0
"""An alarm that comes this much too late means that the process stood still: suspended, stopped, or out of memory."""

_LEAST_DELAY = 0.005


class Alarm:
    """Calls `serve(now, late)` at the earliest time asked for since it last went off, which is `at`.

    `late` is by how many seconds it missed that time.
    """

    def __init__(self, clock: Clock, serve: Callable[[float, float], None]) -> None:
        self._clock = clock
        self._serve = serve
        self._timer: DelayedCall | None = None
        self.at = self._set_at = float("-inf")

    def set(self, when: float, now: float) -> None:
        """Go off at `when`, unless that happens earlier anyway."""
        if self._timer is not None and self._timer.active():
            if self.at <= when:
                return
            self._timer.cancel()
        self.at, self._set_at = when, now
        self._timer = self._clock.callLater(max(when - now, _LEAST_DELAY), self._ring)

    def cancel(self) -> None:
        """Do not go off any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _ring(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        self._serve(now, now - max(self.at, self._set_at))
