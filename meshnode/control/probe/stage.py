"""One stage of a probe: what became of it, why, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Verdict(Enum):
    """Values are the words of the report."""

    PENDING = "pending"
    RUNNING = "running"
    OK = "ok"
    SKIPPED = "skipped"
    FAILED = "failed"


_ENDED = frozenset((Verdict.OK, Verdict.SKIPPED, Verdict.FAILED))
NOT_REACHED = "not_reached"


@dataclass(slots=True)
class Stage:
    """`budget` is the longest it may run, in seconds; `late_reason` says what it means when that is not enough."""

    budget: float
    late_reason: str
    verdict: Verdict = Verdict.PENDING
    reason: str | None = None
    detail: str | None = None
    began: float = 0.0
    elapsed: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.verdict in _ENDED

    def begin(self, now: float) -> bool:
        """Note that the stage runs; True for the first time."""
        if self.verdict is not Verdict.PENDING:
            return False
        self.verdict, self.began = Verdict.RUNNING, now
        return True

    def end(self, verdict: Verdict, now: float, reason: str | None = None, detail: str | None = None) -> None:
        self.verdict, self.reason, self.detail = verdict, reason, detail
        self.elapsed = now - self.began

    def succeed(self, now: float, reason: str | None = None) -> None:
        self.end(Verdict.OK, now, reason)

    def skip(self, now: float, reason: str) -> None:
        self.end(Verdict.SKIPPED, now, reason)

    def fail(self, now: float, reason: str, detail: str | None = None) -> None:
        self.end(Verdict.FAILED, now, reason, detail)

    def leave_out(self) -> None:
        """An earlier stage was the end of the probe."""
        self.verdict, self.reason = Verdict.SKIPPED, NOT_REACHED

    def is_late(self, now: float) -> bool:
        return now - self.began >= self.budget

    def report(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "detail": self.detail,
            "elapsed_ms": None if self.elapsed is None else int(self.elapsed * 1000),
        }
