"""What we sent: the state behind SenderReports (spec 03 section 11.3)."""

from __future__ import annotations

from meshnode.wire.reports import SenderReport

U32_MAX = 0xFFFF_FFFF


class SenderState:
    """Counts frames sent; cumulative totals survive reports and rekeys, the interval starts anew with each report."""

    __slots__ = (
        "_first_counter",
        "_first_timestamp",
        "_interval_bytes",
        "_last_counter",
        "_last_timestamp",
        "bytes_sent",
        "packets_sent",
        "pending",
    )

    def __init__(self) -> None:
        self.packets_sent = 0
        self.bytes_sent = 0
        self.pending = False  # something was sent since the last report
        self._first_counter = self._last_counter = 0
        self._first_timestamp = self._last_timestamp = 0
        self._interval_bytes = 0

    def sent(self, first_counter: int, last_counter: int, timestamp: int, nbytes: int) -> None:
        """Account for frames `first_counter..last_counter`, `nbytes` in all."""
        self.packets_sent += last_counter - first_counter + 1
        self.bytes_sent += nbytes
        if not self.pending:
            self.pending = True
            self._first_counter, self._first_timestamp = first_counter, timestamp
            self._interval_bytes = 0
        self._interval_bytes += nbytes
        self._last_counter, self._last_timestamp = last_counter, timestamp

    def report(self) -> SenderReport:
        """Close the interval and describe it."""
        self.pending = False
        return SenderReport(
            interval_start_counter=self._first_counter,
            interval_end_counter=self._last_counter,
            interval_start_timestamp=self._first_timestamp,
            interval_end_timestamp=self._last_timestamp,
            interval_bytes_sent=min(self._interval_bytes, U32_MAX),
            cumulative_packets_sent=self.packets_sent,
            cumulative_bytes_sent=self.bytes_sent,
        )
