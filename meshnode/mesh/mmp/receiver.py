"""What we received: the state behind ReceiverReports (spec 03 section 11.4)."""

from __future__ import annotations

from collections import deque
from operator import mul

from meshnode.wire.reports import ReceiverReport

U16_MAX = 0xFFFF
U32_MAX = 0xFFFF_FFFF
I32_MAX = 0x7FFF_FFFF
I32_MIN = -0x8000_0000
MOST_DELAY_SAMPLES = 4096
REKEY_GRACE = 15.0  # seconds without jitter samples after a cutover: two timestamp epochs may mix


class LossBursts:
    """Lengths of the runs of missing counters: `current` is the one that goes on, before the `expected` counter."""

    __slots__ = ("count", "current", "expected", "longest", "total")

    def __init__(self) -> None:
        self.expected: int | None = None
        self.current: int | None = None
        self.count = self.total = self.longest = 0

    def received(self, counter: int) -> None:
        expected = self.expected
        if expected is None:
            self.expected = counter + 1
            return
        if counter > expected:
            self._extend((counter - expected) & U16_MAX)
        else:
            self.close()
        if counter >= expected:
            self.expected = counter + 1

    def received_run(self, first: int, last: int) -> None:
        """The same as `received` for each of first..last."""
        self.received(first)
        if last > first:
            self.close()
            self.expected = max(self.expected or 0, last + 1)

    def close(self) -> None:
        """End the burst in progress, if there is one."""
        if self.current is not None:
            self.longest = max(self.longest, self.current)
            self.total += self.current
            self.current = None

    def start_interval(self) -> None:
        self.count = self.total = self.longest = 0

    @property
    def mean(self) -> int:
        """Mean burst length in 8.8 fixed point, at most 65535."""
        return min(self.total * 256 // self.count, U16_MAX) if self.count else 0

    def _extend(self, gap: int) -> None:
        if self.current is None:
            self.count += 1
            self.current = gap
        else:
            self.current = min(self.current + gap, U16_MAX)


class ReceiverState:
    """Counts frames received.

    A run of frames that arrived together costs one jitter and one delay sample instead of one per frame; everything
    else is what frame-by-frame accounting gives.
    """

    __slots__ = (
        "_bursts",
        "_delays",
        "_grace_until",
        "_interval_bytes",
        "_interval_packets",
        "_jitter_scaled",
        "_last_received_ms",
        "_last_timestamp",
        "bytes_received",
        "ecn_ce_count",
        "highest_counter",
        "packets_received",
        "reordered",
    )

    def __init__(self, owd_window_size: int) -> None:
        self.packets_received = 0
        self.bytes_received = 0
        self._delays: deque[int] = deque(maxlen=min(max(owd_window_size, 1), MOST_DELAY_SAMPLES))
        self._grace_until = float("-inf")
        self._start_epoch()

    def _start_epoch(self) -> None:
        self.highest_counter = 0
        self.reordered = 0
        self.ecn_ce_count = 0
        self._bursts = LossBursts()
        self._interval_packets = self._interval_bytes = 0
        self._jitter_scaled = 0  # 16 times the jitter in microseconds (RFC 3550, A.8)
        self._last_received_ms: int | None = None
        self._last_timestamp = 0
        self._delays.clear()

    @property
    def pending(self) -> bool:
        """Something arrived since the last report."""
        return self._interval_packets > 0

    def received_run(self, first: int, last: int, timestamp: int, nbytes: int, ce_frames: int, now: float) -> None:
        """Account for frames with consecutive counters, in order, that arrived at `now`; `timestamp` is of the last.

        Jitter and delay are sampled once for the run: frames that shared a wake-up carry one arrival time, so further
        samples would say nothing.
        """
        count = last - first + 1
        self.packets_received += count
        self.bytes_received += nbytes
        self._interval_packets += count
        self._interval_bytes += nbytes
        self.ecn_ce_count += ce_frames
        highest = self.highest_counter
        if first < highest:
            self.reordered += min(last + 1, highest) - first
        if last > highest:
            self.highest_counter = last
        bursts = self._bursts
        if first == bursts.expected and bursts.current is None:  # as a rule
            bursts.expected = last + 1
        else:
            bursts.received_run(first, last)
        self._sample_delay(timestamp, round(now * 1000), now < self._grace_until)

    def _sample_delay(self, timestamp: int, now_ms: int, in_grace: bool) -> None:
        previous = self._last_received_ms
        if not in_grace:
            if previous is not None:
                change = (now_ms - previous - timestamp + self._last_timestamp) * 1000
                change = ((change - I32_MIN) & U32_MAX) + I32_MIN
                self._jitter_scaled += abs(change) - (self._jitter_scaled >> 4)
            self._delays.append(now_ms - timestamp)
        self._last_received_ms = now_ms
        self._last_timestamp = timestamp

    def rekeyed(self, now: float) -> None:
        """Cutover: counters and timestamps begin again; the cumulative totals stay."""
        self._start_epoch()
        self._grace_until = now + REKEY_GRACE

    def report(self, now: float) -> ReceiverReport:
        """Close the interval and describe it; call only while `pending`."""
        last_received = self._last_received_ms
        dwell = 0 if last_received is None else max(round(now * 1000) - last_received, 0)
        bursts = self._bursts
        bursts.close()
        report = ReceiverReport(
            highest_counter=self.highest_counter,
            cumulative_packets_recv=self.packets_received,
            cumulative_bytes_recv=self.bytes_received,
            timestamp_echo=self._last_timestamp if dwell <= U16_MAX else 0,
            dwell_time=min(dwell, U16_MAX),
            max_burst_loss=bursts.longest,
            mean_burst_loss=bursts.mean,
            jitter=min(self._jitter_scaled >> 4, U32_MAX),
            ecn_ce_count=self.ecn_ce_count & U32_MAX,
            owd_trend=self._delay_trend(),
            burst_loss_count=bursts.count,
            cumulative_reorder_count=self.reordered & U32_MAX,
            interval_packets_recv=min(self._interval_packets, U32_MAX),
            interval_bytes_recv=min(self._interval_bytes, U32_MAX),
        )
        self._interval_packets = self._interval_bytes = 0
        bursts.start_interval()
        return report

    def _delay_trend(self) -> int:
        """Slope of the one-way delay in nanoseconds per sample, by least squares.

        Upstream subtracts the wrong receive time and publishes a number nobody reads; this is the meant one.
        """
        delays = self._delays
        n = len(delays)
        if n < 2:
            return 0
        twice_covariance = 2 * sum(map(mul, range(n), delays)) - (n - 1) * sum(delays)
        slope_ms = twice_covariance * 6 / (n * (n * n - 1))
        return max(I32_MIN, min(I32_MAX, int(slope_ms * 1_000_000)))
