"""Rings of samples on one time axis: an hour by seconds, a day by minutes (spec 06 section 4)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FAST_CAPACITY = 3600
SLOW_CAPACITY = 1440
FAST_PER_SLOW = 60

Reduction = Callable[[Sequence[float]], float]
"""Makes one slow sample of fast ones, none of which is missing; there is at least one."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What is recorded: the name and unit operators read, and how a minute is told in one number."""

    name: str
    unit: str
    reduce: Reduction


def last(values: Sequence[float]) -> float:
    return values[-1]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


total: Reduction = math.fsum


class Ring:
    """The newest `capacity` samples; NaN stands for a missing one.

    Memory grows only as samples come. As long as single precision holds all of them exactly, as it does counts below
    16 million, that is what they are kept in: half a node's memory would be its history of 500 peers otherwise.
    """

    __slots__ = ("_next", "_values", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._values = array("f")
        self._next = 0

    def push(self, value: float) -> None:
        values = self._values
        at = len(values)
        if at < self.capacity:
            values.append(value)
        else:
            at = self._next
            values[at] = value
            self._next = (at + 1) % self.capacity
        if values[at] != value and not math.isnan(value):
            self._values = array("d", values)
            self._values[at] = value

    def latest(self, count: int) -> list[float | None]:
        """The last `count` samples, at most the capacity, oldest first; what was never sampled is None, in front."""
        values, count = self._values, min(count, self.capacity)
        held = min(count, len(values))
        end = self._next if len(values) == self.capacity else len(values)
        begin = end - held
        known = values[begin:end] if begin >= 0 else values[begin:] + values[:end]
        return [None] * (count - held) + [None if math.isnan(value) else value for value in known]

    def __len__(self) -> int:
        return len(self._values)

    def samples(self) -> array[float]:
        """A copy of everything held, oldest first, NaN for what is missing."""
        return array("d", self._values[self._next :] + self._values[: self._next])


class Series:
    """One metric over time."""

    __slots__ = ("fast", "metric", "slow")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.fast = Ring(FAST_CAPACITY)
        self.slow = Ring(SLOW_CAPACITY)

    def push(self, value: float | None) -> None:
        self.fast.push(math.nan if value is None else value)

    def close_minute(self) -> None:
        """Make one slow sample of the last minute."""
        known = [value for value in self.fast.latest(FAST_PER_SLOW) if value is not None]
        self.slow.push(self.metric.reduce(known) if known else math.nan)
