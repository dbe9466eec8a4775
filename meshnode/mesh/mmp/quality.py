"""What the peer's ReceiverReports say about our sending direction (spec 03 sections 11.5 and 11.6)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from meshnode.mesh.mmp.delivery import LASTING, RECENT, DeliveryWindow
from meshnode.mesh.mmp.ewma import SmoothedRtt, Trends
from meshnode.wire.reports import ReceiverReport

MAX_ETX = 100.0
LOSS_SURCHARGE = 12.0
RTT_SAMPLES = 5


class CostRange(NamedTuple):
    """What it costs to use a link, at least 1, by different ways of looking at the measurements.

    `recent` and `steady` are the likely figures by the last 12 and 120 seconds, `low` is the best that the last 12
    allow, `high` the worst that the last 120 allow.
    """

    low: float
    recent: float
    steady: float
    high: float


class Health(NamedTuple):
    """Whether a link works at the moment: what share of frames gets there and back, at the least, and since when.

    `arrived_until` is when the latest of those frames left that the peer told it has received, `heard_at` when anything
    came from it.
    """

    delivered: float
    arrived_until: float
    heard_at: float


class Quality:
    """Round-trip time, delivery ratios, ETX and goodput of one link or session.

    `lost_since` is set when the latest report tells of losses: frames sent since then may be among them. What left by
    `arrived_until` has arrived, as far as it was not lost.
    """

    __slots__ = (
        "_cost",
        "_earlier_at",
        "_previous",
        "_previous_at",
        "_reverse_baseline",
        "_rtt_samples",
        "_towards_peer",
        "_towards_us",
        "arith_failures",
        "arrived_until",
        "delivery_forward",
        "delivery_reverse",
        "etx",
        "goodput",
        "lost_since",
        "reports_seen",
        "rtt",
        "rtt_samples",
        "trends",
        "zero_samples",
    )

    def __init__(self) -> None:
        self.rtt = SmoothedRtt()
        self.delivery_forward = 1.0
        self.delivery_reverse = 1.0
        self.etx = 1.0
        self.goodput = 0.0  # bytes per second
        self.trends = Trends.fresh()
        self.reports_seen = self.rtt_samples = self.zero_samples = self.arith_failures = 0
        self.lost_since: float | None = None
        self.arrived_until = float("-inf")
        self._previous: ReceiverReport | None = None
        self._previous_at = self._earlier_at = 0.0
        self._reverse_baseline: tuple[int, int] | None = None
        self._rtt_samples: deque[int] = deque(maxlen=RTT_SAMPLES)
        self._cost: CostRange | None = None
        self._towards_peer = DeliveryWindow()
        self._towards_us = DeliveryWindow()

    def receiver_report(self, report: ReceiverReport, my_timestamp: int, now: float) -> bool:
        """Take the peer's report; True when it gave the first round-trip sample.

        `my_timestamp` is our own milliseconds since the current epoch began, modulo 2**32.
        """
        self.reports_seen += 1
        self._cost = self.lost_since = None
        previous = self._previous
        if previous is not None and _is_stale(report, previous):
            if not _counter_restarted(report, previous):
                return False
            previous = None
        first = self._sample_rtt(report, my_timestamp, now)
        if previous is not None:
            self._sample_forward(report, previous, now)
            self._sample_goodput(report.cumulative_bytes_recv - previous.cumulative_bytes_recv, now)
        self.trends.jitter.add(float(report.jitter))
        self._earlier_at = self._previous_at
        self._previous, self._previous_at = report, now
        return first

    def reverse(self, packets: int, highest_counter: int, now: float = 0.0) -> None:
        """Take our own receiver's totals: the delivery ratio towards us."""
        self._cost = None
        baseline, self._reverse_baseline = self._reverse_baseline, (packets, highest_counter)
        if baseline is None or highest_counter <= baseline[1]:
            return
        received, expected = packets - baseline[0], highest_counter - baseline[1]
        self.delivery_reverse = _ratio(received, expected)
        self._towards_us.add(received, expected, now)
        self._update_etx()

    def rekeyed(self) -> None:
        """Cutover: counters begin again on both sides, so the next reports are new baselines."""
        self._previous = None
        self._reverse_baseline = None
        self.delivery_forward = 1.0

    @property
    def latest(self) -> ReceiverReport | None:
        """The report that the next one is compared with."""
        return self._previous

    @property
    def last_rtt_ms(self) -> int | None:
        """The newest round-trip sample; None before the first one."""
        return self._rtt_samples[-1] // 1000 if self._rtt_samples else None

    def discount(self, frames: int) -> None:
        """So many of the frames of the latest report were lost for a reason that does not concern others."""
        self._cost = None
        self._towards_peer.discount(frames)

    def cost(self) -> CostRange | None:
        """The cost of the link; None while no round trip was measured.

        Round trips that took less than a millisecond count as measured: on a fast network there are no others.
        """
        if self._cost is None and (self.rtt.srtt_us is not None or self.zero_samples):
            self._cost = self._judge(self.rtt.srtt_us or 0)
        return self._cost

    def delivered(self) -> float:
        """The share of frames that get there and back, at the least, by the last 12 seconds and the latest report."""
        there, back = self._towards_peer.delivery(RECENT), self._towards_us.delivery(RECENT)
        return min(there.low * back.low, 1.0 / self.etx)

    def is_vague(self) -> bool:
        """Whether more frames towards the peer would tell how much the link loses."""
        return self._towards_peer.is_vague()

    def _judge(self, srtt_us: int) -> CostRange:
        there, back = self._towards_peer.delivery(RECENT), self._towards_us.delivery(RECENT)
        there_lasting, back_lasting = self._towards_peer.delivery(LASTING), self._towards_us.delivery(LASTING)
        wobble = self.rtt.variance_us // 2
        recent = _cost(there.likely * back.likely, srtt_us)
        return CostRange(
            low=_cost(there.high * back.high, min(self._rtt_samples, default=0)),
            recent=recent,
            steady=_cost(there_lasting.likely * back_lasting.likely, srtt_us),
            high=max(_cost(there_lasting.low * back_lasting.low, srtt_us + wobble), recent),
        )

    def _sample_rtt(self, report: ReceiverReport, my_timestamp: int, now: float) -> bool:
        if report.timestamp_echo == 0:
            return False
        rtt_ms = my_timestamp - report.timestamp_echo - report.dwell_time
        if rtt_ms < 0:
            self.arith_failures += 1
            return False
        self.arrived_until = max(self.arrived_until, now - (my_timestamp - report.timestamp_echo) / 1000)
        self._rtt_samples.append(rtt_ms * 1000)
        if rtt_ms == 0:
            self.zero_samples += 1
            return False
        first = self.rtt.srtt_us is None
        self.rtt_samples += 1
        self.rtt.add(rtt_ms * 1000)
        self.trends.rtt.add(rtt_ms * 1000.0)
        return first

    def _sample_forward(self, report: ReceiverReport, previous: ReceiverReport, now: float) -> None:
        span = report.highest_counter - previous.highest_counter
        if span <= 0:
            return
        received = report.cumulative_packets_recv - previous.cumulative_packets_recv
        self.delivery_forward = _ratio(received, span)
        self._towards_peer.add(received, span, now)
        if received < span:
            # Frames lost last before a report show only in the next one.
            self.lost_since = self._earlier_at - (self.rtt.srtt_us or 0) / 1_000_000
        self.trends.loss.add(1.0 - self.delivery_forward)
        self._update_etx()

    def _sample_goodput(self, nbytes: int, now: float) -> None:
        elapsed = now - self._previous_at
        if elapsed <= 0:
            return
        rate = nbytes / elapsed
        self.goodput = rate if self.goodput == 0 else self.goodput + (rate - self.goodput) / 4
        self.trends.goodput.add(rate)

    def _update_etx(self) -> None:
        delivered = self.delivery_forward * self.delivery_reverse
        self.etx = MAX_ETX if delivered <= 0 else min(max(1.0 / delivered, 1.0), MAX_ETX)
        self.trends.etx.add(self.etx)


def _cost(delivered: float, srtt_us: int) -> float:
    """The cost of section 11.6 with a surcharge on loss.

    Nothing on a link sends lost frames again, so a lossy hop spoils a whole path, which one more hop does not; the
    expected number of transmissions alone would prefer the former.
    """
    transmissions = min(1.0 / delivered, MAX_ETX)
    return (transmissions + LOSS_SURCHARGE * (1.0 - delivered)) * (1.0 + srtt_us / 100_000)


def _ratio(part: int, whole: int) -> float:
    return min(max(part / whole, 0.0), 1.0)


def _is_stale(report: ReceiverReport, previous: ReceiverReport) -> bool:
    """Whether any of the peer's counters went back, or none of them moved."""
    highest = report.highest_counter - previous.highest_counter
    packets = report.cumulative_packets_recv - previous.cumulative_packets_recv
    nbytes = report.cumulative_bytes_recv - previous.cumulative_bytes_recv
    marked = report.ecn_ce_count - previous.ecn_ce_count
    reordered = report.cumulative_reorder_count - previous.cumulative_reorder_count
    if highest < 0 or packets < 0 or nbytes < 0 or marked < 0 or reordered < 0:
        return True
    return not (highest or packets or nbytes or marked or reordered)


def _counter_restarted(report: ReceiverReport, previous: ReceiverReport) -> bool:
    """Whether the peer began a new epoch after the report we hold was built.

    A report sent before the peer's cutover can arrive after ours and become the baseline; without this every later one
    would look stale until the new epoch's counter passed the old one's. Reordered reports cannot look like this: their
    totals are smaller, not larger.
    """
    return (
        report.highest_counter * 2 < previous.highest_counter
        and report.cumulative_packets_recv > previous.cumulative_packets_recv
        and report.cumulative_bytes_recv > previous.cumulative_bytes_recv
    )
