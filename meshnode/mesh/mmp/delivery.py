"""How reliably frames arrive, judged over the past seconds instead of over one report interval.

A link that only carries reports is judged by three or four frames a second: the share lost in one report interval says
next to nothing. Here the frames of a longer time are counted together, and how sure one can be of the result comes out
beside it: the less there is to go by, the wider the range.
"""

from __future__ import annotations

from collections import deque
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
    """Frames sent and received between two looks."""

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
    """The recent samples of one direction."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    def add(self, received: int, expected: int, now: float) -> None:
        """Note that `received` of `expected` frames arrived since the last time."""
        samples = self._samples
        while samples and now - samples[0].at > LASTING:
            samples.popleft()
        samples.append(Sample(now, received, expected))

    def discount(self, lost: int) -> None:
        """Take `lost` frames out of the latest sample."""
        if self._samples:
            at, received, expected = self._samples.pop()
            self._samples.append(Sample(at, received, max(expected - lost, received)))

    def is_vague(self) -> bool:
        """Whether frames were lost lately, but too few were sent to say what share that is."""
        received = expected = 0
        for sample in reversed(self._samples):
            if self._samples[-1].at - sample.at > RECENT:
                break
            received += sample.received
            expected += sample.expected
        return expected - received >= 2 and expected < TELLING_FRAMES

    def delivery(self, age: float) -> Delivery:
        """The judgement by the samples up to `age` seconds older than the latest one; full delivery without any.

        Where those are too few frames to have an opinion at all, older ones are taken as well.
        """
        received = expected = 0
        for sample in reversed(self._samples):
            if self._samples[-1].at - sample.at > age and expected >= ENOUGH_FRAMES:
                break
            received += sample.received
            expected += sample.expected
        return _wilson(min(received, expected), expected) if expected else ASSUMED


def _wilson(received: int, expected: int) -> Delivery:
    """Wilson's interval: sound for few frames and for shares near 0 and 1."""
    share, spread = received / expected, _Z * _Z / expected
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * sqrt(share * (1 - share) / expected + spread / (4 * expected)) / (1 + spread)
    return Delivery(
        max(centre - half, LEAST_DELIVERY), max(share, LEAST_DELIVERY), min(max(centre + half, LEAST_DELIVERY), 1.0)
    )
