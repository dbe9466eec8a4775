"""One measurement: everything a link or a session knows about its own quality (spec 03 section 11)."""

from __future__ import annotations

from meshnode.mesh.mmp.ewma import Trends
from meshnode.mesh.mmp.quality import CostRange, Quality
from meshnode.mesh.mmp.receiver import ReceiverState
from meshnode.mesh.mmp.schedule import MeasurementKind, ReportSchedule
from meshnode.mesh.mmp.sender import SenderState
from meshnode.mesh.settings import MmpSettings
from meshnode.wire.reports import ReceiverReport, SenderReport

SESSION_SENDER_REPORT = b"\x11"
SESSION_RECEIVER_REPORT = b"\x12"


class Measurement:
    """Counts frames in both directions, builds reports and digests the peer's.

    `sent` (of `SenderState`), `received_run` (of `ReceiverState`) and `spin_received` are for the hot path: call them
    once per run of frames. Counters are the frame or session counters, timestamps u32 milliseconds since the current
    epoch began, `now` monotonic seconds. What is counted as bytes is the caller's choice by kind (section 11.2).
    """

    __slots__ = (
        "_spin_highest",
        "initiator",
        "kind",
        "quality",
        "received_run",
        "receiver",
        "schedule",
        "sender",
        "sent",
        "settings",
        "spin_bit",
    )

    def __init__(self, kind: MeasurementKind, settings: MmpSettings, initiator: bool, now: float) -> None:
        self.kind: MeasurementKind = kind
        self.settings = settings
        self.initiator = initiator
        self.sender = SenderState()
        self.sent = self.sender.sent
        self.receiver = ReceiverState(settings.owd_window_size)
        self.received_run = self.receiver.received_run
        self.quality = Quality()
        self.schedule = ReportSchedule(kind)
        self.spin_bit = 0
        self._spin_highest = 0

    def received(self, counter: int, timestamp: int, nbytes: int, ce: bool, now: float) -> None:
        """Account for one received frame, in any order."""
        self.receiver.received_run(counter, counter, timestamp, nbytes, int(ce), now)

    def spin_received(self, bit: int, counter: int, now: float) -> None:
        """Follow the peer's spin bit: the initiator flips, the responder copies (section 11.8)."""
        if self.initiator:
            if bit == self.spin_bit:
                self.spin_bit = 1 - self.spin_bit
        elif counter > self._spin_highest:
            self._spin_highest = counter
            self.spin_bit = bit

    def reports_due(self, now: float) -> list[bytes]:
        """Reports to send now, type byte first; for a session that byte belongs into the inner header.

        The caller sends them as ordinary frames and accounts for them like any other.
        """
        reports: list[bytes] = []
        mode = self.settings.mode
        if mode == "full" and self.sender.pending and self.schedule.take_sender(now):
            sender = self.sender.report()
            link = self.kind == "link"
            reports.append(sender.encode_link() if link else SESSION_SENDER_REPORT + sender.encode_session())
        if mode != "minimal" and self.receiver.pending and self.schedule.take_receiver(now):
            receiver = self.receiver.report(now)
            link = self.kind == "link"
            reports.append(receiver.encode_link() if link else SESSION_RECEIVER_REPORT + receiver.encode_session())
        return reports

    def receiver_report(self, report: ReceiverReport, my_timestamp: int, now: float) -> bool:
        """Digest the peer's report; True when it gave the first round-trip sample of this measurement."""
        first = self.quality.receiver_report(report, my_timestamp, now)
        srtt_us = self.quality.rtt.srtt_us
        if srtt_us is not None:
            self.schedule.update(srtt_us)
        self.quality.reverse(self.receiver.packets_received, self.receiver.highest_counter, now)
        return first

    def sender_report(self, report: SenderReport) -> None:
        """SenderReports inform people with packet captures; nothing is derived from them."""

    def rekeyed(self, now: float) -> None:
        """The cutover to a new key epoch: counters and timestamps begin again on both sides."""
        self.receiver.rekeyed(now)
        self.quality.rekeyed()

    def sending_failed(self) -> None:
        """All messages of one tick to this session's destination failed: report less often."""
        self.schedule.sending_failed()

    def sending_succeeded(self) -> None:
        self.schedule.sending_succeeded()

    @property
    def srtt_ms(self) -> float | None:
        srtt_us = self.quality.rtt.srtt_us
        return None if srtt_us is None else srtt_us / 1000

    @property
    def etx(self) -> float:
        return self.quality.etx

    @property
    def loss(self) -> float:
        """Share of our frames lost in the latest report interval."""
        return 1.0 - self.quality.delivery_forward

    @property
    def goodput(self) -> float:
        """Bytes per second that reached the peer, smoothed."""
        return self.quality.goodput

    @property
    def delivery_forward(self) -> float:
        return self.quality.delivery_forward

    @property
    def delivery_reverse(self) -> float:
        return self.quality.delivery_reverse

    @property
    def trends(self) -> Trends:
        return self.quality.trends

    @property
    def smoothed_loss(self) -> float | None:
        loss = self.quality.trends.loss
        return loss.long if loss.initialised else None

    @property
    def smoothed_etx(self) -> float | None:
        etx = self.quality.trends.etx
        return etx.long if etx.initialised else None

    @property
    def ecn_ce_count(self) -> int:
        return self.receiver.ecn_ce_count

    @property
    def cost_range(self) -> CostRange | None:
        """Cost for parent selection and routing in detail; None while no round trip was measured."""
        return self.quality.cost()

    @property
    def link_cost(self) -> float | None:
        """The likely cost by the recent past, at least 1 (sections 3.5 and 11.6)."""
        cost = self.quality.cost()
        return None if cost is None else cost.recent

    @property
    def smoothed_cost(self) -> float | None:
        """The link quality index operators see; None while one of its inputs is missing."""
        etx, srtt_ms = self.smoothed_etx, self.srtt_ms
        return None if etx is None or srtt_ms is None else etx * (1.0 + srtt_ms / 100)
