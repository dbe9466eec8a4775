"""Measurements: what is counted, reported, and concluded from the peer's reports."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.mesh.mmp import Measurement
from meshnode.mesh.mmp.ewma import DualEwma, SmoothedRtt
from meshnode.mesh.mmp.quality import Quality
from meshnode.mesh.mmp.receiver import ReceiverState
from meshnode.mesh.mmp.schedule import ReportSchedule
from meshnode.mesh.settings import MmpMode, MmpSettings
from meshnode.wire.reports import ReceiverReport, SenderReport
from tests.unit.mesh_rig import VECTORS

MMP = VECTORS["mmp"]
TREND_FIELD = slice(48, 52)  # of a ReceiverReport link message


def measurement(kind: Any = "link", mode: MmpMode = "full", initiator: bool = True) -> Measurement:
    return Measurement(kind, MmpSettings(mode=mode), initiator, now=0.0)


def report(**fields: int) -> ReceiverReport:
    names = MMP["receiver_report"]["fields"]
    return ReceiverReport(**{name: fields.get(name, 0) for name in names})


def without_trend(message: bytes) -> bytes:
    """The reference publishes a meaningless delay trend; ours is the real one."""
    return message[: TREND_FIELD.start] + message[TREND_FIELD.stop :]


# Counting


@pytest.mark.parametrize("vector", MMP["receiver_sequences"], ids=lambda v: v["note"])
def test_receiver_reports_match_the_reference(vector: dict[str, Any]) -> None:
    state, messages = ReceiverState(32), []
    for step in vector["steps"].split(";"):
        if step[0] == "R":
            messages.append(state.report(int(step[2:]) / 1000).encode_link())
        elif step[0] == "K":
            state.rekeyed(int(step[2:]) / 1000)
        else:
            counter, timestamp, nbytes, ce, now = (int(part) for part in step.split(":"))
            state.received_run(counter, counter, timestamp, nbytes, ce, now / 1000)
    expected = [bytes.fromhex(message) for message in vector["messages"]]
    assert [without_trend(m) for m in messages] == [without_trend(m) for m in expected]


@pytest.mark.parametrize("vector", MMP["sender_sequences"])
def test_sender_reports_match_the_reference(vector: dict[str, Any]) -> None:
    """Spec 03, section 11.3."""
    link, messages = measurement(), []
    for step in vector["steps"].split(";"):
        if step[0] == "R":
            messages.append(link.sender.report().encode_link().hex() if link.sender.pending else "none")
        else:
            counter, timestamp, nbytes = (int(part) for part in step.split(":"))
            link.sent(counter, counter, timestamp, nbytes)
    assert messages == vector["messages"]


runs = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(1, 40), st.integers(0, 3)),
    min_size=1,
    max_size=20,
)


@given(runs)
def test_a_run_counts_like_its_frames_one_by_one(batches: list[tuple[int, int, int]]) -> None:
    by_run, by_frame = ReceiverState(32), ReceiverState(32)
    for n, (first, length, ce) in enumerate(batches):
        now, marked = float(n), min(ce, length)
        by_run.received_run(first, first + length - 1, n * 1000, 100 * length, marked, now)
        for i in range(length):
            by_frame.received_run(first + i, first + i, n * 1000, 100, int(i < marked), now)
    one, other = by_run.report(99.0), by_frame.report(99.0)
    one.jitter = other.jitter = one.owd_trend = other.owd_trend = 0
    assert one == other


def test_a_growing_delay_shows_as_a_positive_trend() -> None:
    state = ReceiverState(32)
    for n in range(10):
        state.received_run(n, n, n * 100, 100, 0, n * 0.110)
    assert state.report(1.1).owd_trend == 10_000_000


def test_a_steady_delay_has_no_trend_whatever_the_clocks_say() -> None:
    state = ReceiverState(4)
    for n in range(10):
        state.received_run(n, n, 5_000_000 + n * 100, 100, 0, n * 0.1)
    assert state.report(1.0).owd_trend == 0


def test_no_report_without_frames() -> None:
    link = measurement()
    assert link.reports_due(100.0) == []
    link.sent(1, 1, 5, 100)
    assert [message[0] for message in link.reports_due(100.0)] == [0x01]
    assert link.reports_due(200.0) == []


# Reports on the wire and their schedule


@pytest.mark.parametrize(("mode", "types"), [("full", [1, 2]), ("lightweight", [2]), ("minimal", [])])
def test_the_mode_decides_what_is_sent(mode: MmpMode, types: list[int]) -> None:
    """Spec 03, section 11.7."""
    link = measurement(mode=mode)
    link.sent(1, 3, 5, 300)
    link.received(1, 5, 100, ce=False, now=0.0)
    assert [message[0] for message in link.reports_due(1.0)] == types


def test_session_reports_carry_their_type_before_the_body() -> None:
    session = measurement("session")
    session.sent(1, 1, 5, 100)
    session.received(7, 9, 40, ce=True, now=0.0)
    sender, receiver = session.reports_due(1.0)
    assert (sender[0], receiver[0]) == (0x11, 0x12)
    assert SenderReport.parse_session(sender[1:]).cumulative_bytes_sent == 100
    assert ReceiverReport.parse_session(receiver[1:]).ecn_ce_count == 1


def test_link_intervals_follow_the_round_trip_time() -> None:
    """Spec 03, section 11.7."""
    schedule, vector = ReportSchedule("link"), MMP["link_report_intervals"]
    assert (schedule.sender_ms, schedule.receiver_ms) == (200, 200)
    seen = []
    for srtt_us in vector["srtt_us"]:
        schedule.update(srtt_us)
        seen.append([schedule.sender_ms, schedule.receiver_ms])
    assert seen == vector["sender_receiver_interval_ms"]


def test_session_intervals_follow_the_round_trip_time() -> None:
    schedule, vector = ReportSchedule("session"), MMP["session_report_intervals"]
    seen = [[schedule.sender_ms, schedule.receiver_ms]]
    for srtt_us in vector["srtt_us"]:
        schedule.update(srtt_us)
        seen.append([schedule.sender_ms, schedule.receiver_ms])
    assert seen == vector["initial_then_each"]


def test_a_report_due_a_moment_after_a_look_does_not_wait_for_the_next() -> None:
    """Looks are a second apart and clocks are not exact; two seconds without a word look like a dead link."""
    schedule = ReportSchedule("link")
    for _ in range(6):
        schedule.update(1000)
    assert schedule.take_sender(10.0)
    assert schedule.take_receiver(10.0)
    assert schedule.take_sender(10.9999)
    assert schedule.take_receiver(10.9999)
    assert not schedule.take_sender(11.9)


def test_failing_sends_stretch_a_sessions_sender_reports_up_to_32_times() -> None:
    schedule = ReportSchedule("session")
    assert schedule.take_sender(0.0)
    for _ in range(10):
        schedule.sending_failed()
    assert not schedule.take_sender(31.9)
    assert schedule.take_sender(32.0)
    schedule.sending_succeeded()
    assert schedule.take_sender(33.0)


def test_links_do_not_back_off() -> None:
    link = measurement()
    link.sending_failed()
    assert link.schedule.failures == 0


# Conclusions


@pytest.mark.parametrize("vector", MMP["srtt"])
def test_smoothed_round_trip_times(vector: dict[str, Any]) -> None:
    rtt, seen = SmoothedRtt(), []
    for sample in vector["samples_us"]:
        rtt.add(sample)
        seen.append([rtt.srtt_us, rtt.variance_us])
    assert seen == vector["srtt_rttvar_us"]


def test_dual_averages() -> None:
    average, seen = DualEwma(), []
    for sample in MMP["dual_ewma"]["samples"]:
        average.add(sample)
        seen.append([average.short, average.long])
    assert seen == MMP["dual_ewma"]["short_long"]


@pytest.mark.parametrize(
    ("samples", "word"),
    [([], None), ([10.0], "stable"), ([10.0, 20.0], "rising"), ([10.0, 5.0], "falling"), ([0.0, 0.0], "stable")],
)
def test_trend_words(samples: list[float], word: str | None) -> None:
    average = DualEwma()
    for sample in samples:
        average.add(sample)
    assert average.trend == word


def published(quality: Quality) -> dict[str, float | None]:
    srtt, trends = quality.rtt.srtt_us, quality.trends
    return {
        "srtt_ms": None if srtt is None else srtt / 1000,
        "delivery_forward": quality.delivery_forward,
        "delivery_reverse": quality.delivery_reverse,
        "etx": quality.etx,
        "goodput_bps": quality.goodput,
        "loss_short": trends.loss.short,
        "loss_long": trends.loss.long,
        "etx_long": trends.etx.long,
        "jitter_short": trends.jitter.short,
        "jitter_long": trends.jitter.long,
    }


@pytest.mark.parametrize("vector", MMP["metrics_sequences"], ids=lambda v: v["note"])
def test_metrics_match_the_reference(vector: dict[str, Any]) -> None:
    """Spec 03, sections 11.5 and 11.6."""
    quality, snapshots, firsts = Quality(), [], []
    for step in vector["steps"]:
        if step["op"] == "receiver_report":
            message = ReceiverReport(**step["fields"])
            firsts.append(quality.receiver_report(message, step["our_ts_ms"], step["now_ms"] / 1000))
        elif step["op"] == "reverse":
            quality.reverse(step["packets"], step["highest"])
        else:
            quality.rekeyed()
        snapshots.append(published(quality))
    assert snapshots == [result for result in vector["results"] if isinstance(result, dict)]
    words = [result for result in vector["results"] if isinstance(result, str)]
    assert firsts == [word.startswith("true") for word in words]


def test_zero_and_negative_round_trips_are_counted_and_ignored() -> None:
    quality = Quality()
    quality.receiver_report(report(highest_counter=1, timestamp_echo=100), 100, 0.0)
    quality.receiver_report(report(highest_counter=2, timestamp_echo=200), 150, 1.0)
    assert (quality.zero_samples, quality.arith_failures, quality.rtt.srtt_us) == (1, 1, None)


def test_a_link_faster_than_a_millisecond_is_as_good_as_measured() -> None:
    """Spec 03, sections 3.5 and 11.5: the reference gives it no cost, and its peer is no parent."""
    link = measurement()
    link.receiver_report(report(highest_counter=1, timestamp_echo=100), 100, 0.0)
    assert (link.srtt_ms, link.link_cost) == (None, 1.0)


def test_a_report_tells_up_to_when_what_was_sent_has_arrived_however_late_it_is_itself() -> None:
    quality = Quality()
    assert quality.arrived_until == float("-inf")
    quality.receiver_report(report(highest_counter=1, timestamp_echo=7000, dwell_time=500), 10_000, 60.0)
    assert quality.arrived_until == pytest.approx(57.0)
    quality.receiver_report(report(highest_counter=2, timestamp_echo=0), 11_000, 61.0)
    quality.receiver_report(report(highest_counter=3, timestamp_echo=6000), 11_000, 61.0)
    assert quality.arrived_until == pytest.approx(57.0)


def test_the_first_sample_is_told_once() -> None:
    link = measurement()
    assert link.link_cost is None
    first = report(highest_counter=1, cumulative_packets_recv=1, timestamp_echo=10)
    second = report(highest_counter=2, cumulative_packets_recv=2, timestamp_echo=20)
    assert link.receiver_report(first, 60, 0.0)
    assert not link.receiver_report(second, 70, 1.0)
    assert link.link_cost == pytest.approx(1.5)


def test_a_report_from_before_the_peers_cutover_does_not_blind_us() -> None:
    quality = Quality()
    quality.rekeyed()
    old = report(highest_counter=60_000, cumulative_packets_recv=60_000, cumulative_bytes_recv=6_000_000)
    quality.receiver_report(old, 0, 0.0)
    for n in (1, 2):
        fresh = report(
            highest_counter=10 * n,
            cumulative_packets_recv=60_000 + 9 * n,
            cumulative_bytes_recv=6_000_000 + 900 * n,
            timestamp_echo=n,
        )
        quality.receiver_report(fresh, 51, float(n))
    assert quality.rtt.srtt_us is not None
    assert quality.delivery_forward == 0.9


def test_stale_reports_still_pace_our_own() -> None:
    link = measurement()
    link.receiver_report(report(highest_counter=5, timestamp_echo=10), 60, 0.0)
    before = link.schedule.sender_ms
    for _ in range(6):
        link.receiver_report(report(highest_counter=4, timestamp_echo=10), 5000, 1.0)
    assert link.srtt_ms == 50.0
    assert (before, link.schedule.sender_ms) == (200, 1000)


def test_values_without_samples_are_absent() -> None:
    link = measurement()
    assert (link.srtt_ms, link.smoothed_loss, link.smoothed_etx, link.smoothed_cost) == (None, None, None, None)
    assert (link.etx, link.loss, link.goodput, link.ecn_ce_count) == (1.0, 0.0, 0.0, 0)


def test_a_rekey_keeps_what_was_learned_and_restarts_what_is_counted() -> None:
    link = measurement()
    link.received_run(1, 10, 50, 1000, 2, now=0.0)
    link.receiver_report(report(highest_counter=10, timestamp_echo=10), 60, 0.0)
    link.rekeyed(1.0)
    assert (link.srtt_ms, link.receiver.highest_counter, link.ecn_ce_count) == (50.0, 0, 0)
    assert link.receiver.packets_received == 10
    assert link.reports_due(5.0) == []


# Spin bit


@pytest.mark.parametrize("vector", MMP["spin_bit"], ids=lambda v: f"{v['role']} {v['steps']}")
def test_spin_bit(vector: dict[str, Any]) -> None:
    """Spec 03, section 11.8."""
    link, seen = measurement(initiator=vector["role"] == "initiator"), []
    for step in vector["steps"].split(";"):
        bit, counter, now = (int(part) for part in step.split(":"))
        link.spin_received(bit, counter, now / 1000)
        seen.append(bool(link.spin_bit))
    assert seen == [bit for _, bit in vector["rtt_sample_and_next_tx_bit"]]


reports = st.builds(
    ReceiverReport,
    *([st.integers(0, 2**64 - 1)] * 3),
    st.integers(0, 2**32 - 1),
    *([st.integers(0, 2**16 - 1)] * 3),
    *([st.integers(0, 2**32 - 1)] * 2),
    st.integers(-(2**31), 2**31 - 1),
    *([st.integers(0, 2**32 - 1)] * 4),
)


@given(st.lists(reports, max_size=10), st.integers(0, 2**32 - 1))
def test_any_reports_leave_sane_figures(messages: list[ReceiverReport], my_timestamp: int) -> None:
    link = measurement()
    for n, message in enumerate(messages):
        link.received(n, 0, 100, ce=False, now=float(n))
        link.receiver_report(message, my_timestamp, float(n))
    assert 1.0 <= link.etx <= 100.0
    assert 0.0 <= link.delivery_forward <= 1.0
    assert link.link_cost is None or link.link_cost >= 1.0
