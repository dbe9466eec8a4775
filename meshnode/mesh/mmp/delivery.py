"""How reliably frames arrive, judged over the past seconds instead of over one report interval.

A link that only carries reports is judged by three or four frames a second: the share lost in one report interval says
next to nothing. Here the frames of a longer time are counted together, and how sure one can be of the result comes out
beside it: the less there is to go by, the wider the range.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from math import sqrt
from typing import NamedTuple

RECENT = 12.0
LASTING = 120.0
ENOUGH_FRAMES = 30
TELLING_FRAMES = 120
MAX_SAMPLES = 256
_Z = 1.8
LEAST_DELIVERY = 0.01


class Sample(NamedTuple):
    """A look, and how many frames had been received and expected by then in all."""

    at: float
    received: int
    expected: int


class Delivery(NamedTuple):
    """The likely share of frames that arrive, and the range it is in with some 93 % confidence."""

    low: float
    likely: float
    high: float


ASSUMED = Delivery(1.0, 1.0, 1.0)


class DeliveryWindow:
    """The recent samples of one direction: looks are kept for `LASTING`, and the one before them."""

    __slots__ = ("_before", "_samples")

    def __init__(self) -> None:
        self._before = Sample(0.0, 0, 0)
        self._samples: deque[Sample] = deque()

    def add(self, received: int, expected: int, now: float) -> None:
        """Note that `received` of `expected` frames arrived since the last time."""
        samples = self._samples
        while samples and (now - samples[0].at > LASTING or len(samples) >= MAX_SAMPLES):
            self._before = samples.popleft()
        latest = samples[-1] if samples else self._before
        samples.append(Sample(now, latest.received + received, latest.expected + expected))

    def discount(self, lost: int) -> None:
        """Take `lost` frames out of the latest sample."""
        if self._samples:
            at, received, expected = self._samples.pop()
            earlier = self._samples[-1] if self._samples else self._before
            least = earlier.expected + received - earlier.received
            self._samples.append(Sample(at, received, max(expected - lost, least)))

    def is_vague(self) -> bool:
        """Whether frames were lost lately, but too few were sent to say what share that is."""
        received, expected = self._since(RECENT, 0)
        return expected - received >= 2 and expected < TELLING_FRAMES

    def delivery(self, age: float) -> Delivery:
        """The judgement by the samples up to `age` seconds older than the latest one; full delivery without any.

        Where those are too few frames to have an opinion at all, older ones are taken as well.
        """
        received, expected = self._since(age, ENOUGH_FRAMES)
        return _wilson(min(received, expected), expected) if expected else ASSUMED

    def _since(self, age: float, enough: int) -> tuple[int, int]:
        """Frames received and expected in the last `age` seconds, and earlier ones until they are `enough`."""
        samples = self._samples
        if not samples:
            return 0, 0
        at, received, expected = samples[-1]
        before, oldest = self._before, at - age
        if samples[0].at < oldest:
            for sample in reversed(samples):
                if sample.at < oldest and expected - sample.expected >= enough:
                    before = sample
                    break
        return received - before.received, expected - before.expected


@lru_cache(4096)
def _wilson(received: int, expected: int) -> Delivery:
    """Wilson's interval: sound for few frames and for shares near 0 and 1."""
    share, spread = received / expected, _Z * _Z / expected
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * sqrt(share * (1 - share) / expected + spread / (4 * expected)) / (1 + spread)
    return Delivery(
        max(centre - half, LEAST_DELIVERY), max(share, LEAST_DELIVERY), min(max(centre + half, LEAST_DELIVERY), 1.0)
    )
