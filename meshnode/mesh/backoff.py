"""Longer and longer pauses for what keeps failing."""

from __future__ import annotations

from meshnode.mesh.coordinates import NodeAddr

BACKOFF_CAPACITY = 4096


class Backoff:
    """Suppresses lookups for a target that keeps failing: for base, twice base, ... at most max seconds; 0 for none."""

    __slots__ = ("_base", "_failures", "_max")

    def __init__(self, base: float, maximum: float) -> None:
        self._base = base
        self._max = maximum
        self._failures: dict[NodeAddr, tuple[int, float]] = {}

    def suppressed(self, target: NodeAddr, now: float) -> bool:
        failure = self._failures.get(target)
        return failure is not None and now < failure[1]

    def record_failure(self, target: NodeAddr, now: float) -> int:
        """Note one more failure in a row and return how many there have been."""
        count = self._failures.pop(target, (0, 0.0))[0] + 1
        if len(self._failures) >= BACKOFF_CAPACITY:
            del self._failures[next(iter(self._failures))]
        delay = min(self._base * 2 ** min(count - 1, 32), self._max)
        self._failures[target] = (count, now + delay)
        return count

    def forget(self, target: NodeAddr) -> None:
        self._failures.pop(target, None)

    def clear(self) -> None:
        self._failures.clear()
