"""Smoothing used by the measurements: smoothed round-trip time and two-speed averages (spec 03 section 11.5)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal

TrendWord = Literal["rising", "falling", "stable"]

SHORT_WEIGHT = 1 / 4
LONG_WEIGHT = 1 / 32
TREND_MARGIN = 0.05


@dataclass(slots=True)
class SmoothedRtt:
    """Integer-microsecond SRTT and RTTVAR; `srtt_us` is None before the first sample."""

    srtt_us: int | None = None
    variance_us: int = 0

    def add(self, sample_us: int) -> None:
        if self.srtt_us is None:
            self.srtt_us, self.variance_us = sample_us, sample_us // 2
            return
        error = abs(self.srtt_us - sample_us)
        self.variance_us += (error >> 2) - (self.variance_us >> 2)
        self.srtt_us += (sample_us >> 3) - (self.srtt_us >> 3)


@dataclass(slots=True)
class DualEwma:
    """A quick and a slow average of one series; comparing them tells the direction the series is going."""

    short: float = 0.0
    long: float = 0.0
    initialised: bool = False

    def add(self, sample: float) -> None:
        if not self.initialised:
            self.short = self.long = sample
            self.initialised = True
            return
        self.short += (sample - self.short) * SHORT_WEIGHT
        self.long += (sample - self.long) * LONG_WEIGHT

    @property
    def trend(self) -> TrendWord | None:
        """The word operators see (spec 06 section 3.8); None before the first sample."""
        if not self.initialised:
            return None
        if self.long == 0 or not isfinite(ratio := self.short / self.long):
            return "stable"
        if ratio > 1 + TREND_MARGIN:
            return "rising"
        return "falling" if ratio < 1 - TREND_MARGIN else "stable"


@dataclass(slots=True)
class Trends:
    """The series a measurement follows: microseconds, ratios, bytes per second."""

    rtt: DualEwma
    loss: DualEwma
    etx: DualEwma
    goodput: DualEwma
    jitter: DualEwma

    @classmethod
    def fresh(cls) -> Trends:
        return cls(DualEwma(), DualEwma(), DualEwma(), DualEwma(), DualEwma())
