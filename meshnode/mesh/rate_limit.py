"""Limiters with bounded memory: a token bucket, one for each of many sources, and "at most once per interval and key".

Times are seconds on the caller's monotonic clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from hashlib import blake2b
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_KEYS = 4096

SLOTS = 1024
"""Buckets a source may fall into by either of its two hashes; a power of two, at most 65,536."""


class TokenBucket:
    """Admits bursts of `burst` events and `rate` events per second in the long run; full when made."""

    __slots__ = ("_refilled_at", "burst", "rate", "tokens")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self.burst = burst
        self.rate = rate
        self.tokens = float(burst)
        self._refilled_at = now

    def allow(self, now: float) -> bool:
        """Take one token; False, and nothing taken, when less than one is left."""
        self.refill(now)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def refill(self, now: float) -> None:
        """Credit the time passed since the last call; a clock that went backwards credits nothing."""
        elapsed = now - self._refilled_at
        if elapsed > 0:
            self.tokens = min(float(self.burst), self.tokens + elapsed * self.rate)
            self._refilled_at = now


class SourceBuckets:
    """A token bucket for each of any number of sources, in constant memory.

    A source shares two slots, chosen by a secret hash, with others, and goes without only when both are used up. A
    single flood empties two of the `2 * SLOTS` slots.
    """

    __slots__ = ("_burst", "_rate", "_refilled_at", "_salt", "_tokens")

    def __init__(self, burst: float, rate: float, salt: bytes, now: float) -> None:
        self._burst = burst / 2
        self._rate = rate / 2
        self._salt = salt
        self._tokens = array("d", [self._burst]) * (2 * SLOTS)
        self._refilled_at = array("d", [now]) * (2 * SLOTS)

    def allow(self, source: bytes, now: float) -> bool:
        """Take a token of `source`; False, and nothing taken, when it has none left."""
        digest = blake2b(source, digest_size=4, key=self._salt).digest()
        first = int.from_bytes(digest[:2], "little") % SLOTS
        second = SLOTS + int.from_bytes(digest[2:], "little") % SLOTS
        fuller = first if self._refilled(first, now) >= self._refilled(second, now) else second
        if self._tokens[fuller] < 1.0:
            return False
        self._tokens[fuller] -= 1.0
        return True

    def _refilled(self, slot: int, now: float) -> float:
        elapsed = now - self._refilled_at[slot]
        if elapsed > 0:
            self._tokens[slot] = min(self._burst, self._tokens[slot] + elapsed * self._rate)
            self._refilled_at[slot] = now
        return self._tokens[slot]


class IntervalLimiter(Generic[Key]):
    """Admits each key at most once per `interval` seconds.

    A refused attempt does not postpone the next admission. Keys are forgotten after `max_age` seconds, which is never
    less than the interval; beyond `capacity` keys the one admitted longest ago is forgotten first, so memory is bounded
    and, under a flood of keys, the limiter admits too much rather than too little.
    """

    __slots__ = ("_admitted", "capacity", "interval", "max_age")

    def __init__(self, interval: float, max_age: float, capacity: int = MAX_KEYS) -> None:
        self.interval = interval
        self.max_age = max(max_age, interval)
        self.capacity = capacity
        self._admitted: dict[Key, float] = {}  # in order of admission, oldest first

    def __len__(self) -> int:
        return len(self._admitted)

    def allow(self, key: Key, now: float) -> bool:
        """Whether `key` is admitted at `now`; when it is, its interval starts again."""
        admitted = self._admitted
        last = admitted.get(key)
        if last is not None:
            if now - last < self.interval:
                return False
            del admitted[key]
        self._forget_old(now)
        admitted[key] = now
        return True

    def since(self, key: Key, now: float) -> float:
        """Seconds since `key` was admitted; infinite when that is not known."""
        return now - self._admitted.get(key, float("-inf"))

    def forget(self, key: Key) -> None:
        """Admit `key` at once the next time; unknown keys are fine."""
        self._admitted.pop(key, None)

    def clear(self) -> None:
        self._admitted.clear()

    def _forget_old(self, now: float) -> None:
        """Drop aged keys, and the oldest one when there is no room for another."""
        admitted = self._admitted
        while admitted:
            oldest = next(iter(admitted))
            if now - admitted[oldest] <= self.max_age and len(admitted) < self.capacity:
                return
            del admitted[oldest]
