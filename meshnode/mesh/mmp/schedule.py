"""When reports leave (spec 03 section 11.7). Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MeasurementKind = Literal["link", "session"]

QUICK_UPDATES = 5  # a young link may report five times as often
MAX_BACKOFF_SHIFT = 5
SLACK = 0.05
"""Reports are looked at once a second; one due a moment after such a look must not wait for the next."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Bounds of the report intervals of one kind, in milliseconds."""

    initial: int
    quick_floor: int
    floor: int
    ceiling: int


PACES: dict[MeasurementKind, Pace] = {
    "link": Pace(initial=200, quick_floor=200, floor=1000, ceiling=5000),
    "session": Pace(initial=1000, quick_floor=500, floor=500, ceiling=10_000),
}


class ReportSchedule:
    """Intervals follow the smoothed round-trip time; failing sends stretch a session's SenderReports."""

    __slots__ = ("_kind", "_pace", "_receiver_at", "_sender_at", "_updates", "failures", "receiver_ms", "sender_ms")

    def __init__(self, kind: MeasurementKind) -> None:
        self._kind = kind
        self._pace = PACES[kind]
        self.sender_ms = self.receiver_ms = self._pace.initial
        self.failures = 0
        self._updates = 0
        self._sender_at: float | None = None
        self._receiver_at: float | None = None

    def update(self, srtt_us: int) -> None:
        """Follow the round-trip time; called for every received report that finds one."""
        pace = self._pace
        floor = pace.quick_floor if self._updates < QUICK_UPDATES else pace.floor
        self._updates += 1
        self.sender_ms = min(max(2 * srtt_us // 1000, floor), pace.ceiling)
        self.receiver_ms = min(max(srtt_us // 1000, floor), pace.ceiling)

    def take_sender(self, now: float) -> bool:
        """Whether a SenderReport may leave now; if so, its next interval starts."""
        interval = self.sender_ms << min(self.failures, MAX_BACKOFF_SHIFT)
        if self._sender_at is not None and now - self._sender_at < interval / 1000 - SLACK:
            return False
        self._sender_at = now
        return True

    def take_receiver(self, now: float) -> bool:
        """Whether a ReceiverReport may leave now; if so, its next interval starts."""
        if self._receiver_at is not None and now - self._receiver_at < self.receiver_ms / 1000 - SLACK:
            return False
        self._receiver_at = now
        return True

    def sending_failed(self) -> None:
        """Nothing sent to this destination in one tick got out. Links do not back off."""
        if self._kind == "session":
            self.failures += 1

    def sending_succeeded(self) -> None:
        self.failures = 0
