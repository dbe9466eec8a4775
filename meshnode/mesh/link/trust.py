"""Whether a link that is up can be relied on: which silence is normal, and how trust is lost and regained.

A link is removed when nothing was heard for `link_dead_timeout_secs`. Long before that, a peer that reports regularly
and suddenly says nothing, not even in answer to a fresh handshake, is better not relied on (spec 01 section 9.2 leaves
this to us; nothing of it shows on the wire).
"""

from __future__ import annotations

MIN_SILENCE = 2.25
"""Seconds without a frame after which a link that should speak is probed: two reports did not come."""

MAX_SILENCE = 5.0
SILENCE_WITHOUT_REPORTS = 16.0  # such a peer may say no more than a Heartbeat every 10 or 11 s
PROBE_TIME = 1.2
PROBE_GAP = 0.4
DEAFNESS = 8.0
DEAF_REPORTS = 6

FORGIVEN_AFTER = 120.0
PROBATION = 4.0
MAX_PROBATION = 60.0
_LONG_AGO = float("-inf")


class Trust:
    """What one peer's habits let us expect. Times are monotonic seconds.

    `expectant` is set once reports have shown that the peer speaks every few seconds, `report_at` is when it last
    reported to have heard something of ours. The oftener trust was lost lately, the longer must a peer speak without a
    pause to regain it.
    """

    __slots__ = ("_losses", "_lost_at", "_report_rhythm", "_speaking_since", "expectant", "report_at", "rhythm")

    def __init__(self) -> None:
        self.rhythm = 0.0
        self.expectant = False
        self.report_at: float | None = None
        self._report_rhythm = 1.0
        self._losses = 0
        self._lost_at = _LONG_AGO
        self._speaking_since: float | None = None

    def patience(self, srtt_ms: float | None) -> float:
        """Seconds of silence that the peer's rhythm and the round-trip time explain."""
        pause = 1.5 * self.rhythm
        if self.expectant:
            pause = min(pause, MAX_SILENCE)
        return max(MIN_SILENCE, pause, 4 * (srtt_ms or 0.0) / 1000)

    def probe_time(self, srtt_ms: float | None) -> float:
        """Seconds within which a peer that is there answers one of the probes."""
        return max(PROBE_TIME, 4 * (srtt_ms or 0.0) / 1000)

    def probe_gap(self, srtt_ms: float | None) -> float:
        """Seconds between the probes of that time."""
        return max(PROBE_GAP, (srtt_ms or 0.0) / 1000)

    def is_deaf(self, srtt_ms: float | None, now: float) -> bool:
        """Whether a peer that should report about what it hears of us has not for long."""
        if not self.expectant or self.report_at is None:
            return False
        return now - self.report_at >= max(DEAFNESS, DEAF_REPORTS * self._report_rhythm, 5 * (srtt_ms or 0.0) / 1000)

    def reported(self, now: float) -> None:
        """The peer told what it hears of us."""
        if self.report_at is not None:
            self._report_rhythm += (min(now - self.report_at, MAX_SILENCE) - self._report_rhythm) / 4
        self.expectant = True
        self.report_at = now

    def woke(self, now: float) -> None:
        """Time passed in which we did not listen: what was not heard then means nothing."""
        if self.report_at is not None:
            self.report_at = now

    def lose(self, now: float) -> None:
        """Note that the peer is not relied on from now on."""
        if now - self._lost_at > FORGIVEN_AFTER:
            self._losses = 0
        self._losses += 1
        self._lost_at = now
        self._speaking_since = None

    def regains(self, silence: float, srtt_ms: float | None, now: float) -> bool:
        """Whether the frame that ends `silence` is enough to rely on the peer again."""
        if self._speaking_since is None or silence >= MAX_SILENCE:
            self._speaking_since = now
        if now - self._speaking_since < self._probation():
            return False
        return not self.is_deaf(srtt_ms, now)

    def _probation(self) -> float:
        return 0.0 if self._losses < 2 else min(PROBATION * 2.0 ** (self._losses - 2), MAX_PROBATION)
