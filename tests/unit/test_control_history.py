"""Rings and histories: windows, gaps, minutes, peers that come and go."""

from __future__ import annotations

import math
import tracemalloc
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshnode.control.history import NODE_METRICS, PEER_RETENTION, History, PeerRecord
from meshnode.control.rings import FAST_PER_SLOW, Metric, Ring, Series, last, mean, total
from tests.unit.node_rig import MeshNet


def test_a_short_history_is_padded_in_front() -> None:
    ring = Ring(10)
    for value in (15.0, 16.0, 17.0, 18.0, 19.0):
        ring.push(value)
    assert ring.latest(5) == [15, 16, 17, 18, 19]
    assert ring.latest(7) == [None, None, 15, 16, 17, 18, 19]
    assert ring.latest(0) == []
    assert len(ring.latest(999)) == 10


@given(st.lists(st.floats(allow_nan=False), max_size=40), st.integers(1, 12), st.integers(0, 20))
def test_a_ring_is_the_end_of_all_that_was_pushed(pushed: list[float], capacity: int, count: int) -> None:
    ring = Ring(capacity)
    for value in pushed:
        ring.push(value)
    count = min(count, capacity)
    expected = pushed[-capacity:][-count:] if count else []
    assert ring.latest(count) == [None] * (count - len(expected)) + expected
    assert list(ring.samples()) == pushed[-capacity:]


def test_counts_take_four_bytes_each_and_whatever_needs_it_eight() -> None:
    def room(unit: float) -> int:
        ring = Ring(1000)
        tracemalloc.start()
        for number in range(1000):
            ring.push(number * unit)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return taken // 1000

    assert (room(1.0), room(0.1)) == (4, 8)


def test_a_minute_is_told_in_one_number() -> None:
    for reduce, expected in ((last, 59.0), (mean, 29.5), (total, 1770.0)):
        series = Series(Metric("any", "things", reduce))
        for second in range(FAST_PER_SLOW):
            series.push(float(second))
        series.close_minute()
        assert series.slow.latest(1) == [expected]


def test_missing_samples_do_not_count_and_nothing_but_them_is_missing() -> None:
    series = Series(Metric("any", "ms", mean))
    for second in range(FAST_PER_SLOW):
        series.push(None if second % 2 else 3.0)
    series.close_minute()
    for _ in range(FAST_PER_SLOW):
        series.push(None)
    series.close_minute()
    assert series.slow.latest(3) == [None, 3.0, None]
    assert math.isnan(series.fast.samples()[-1])


def peer(packets: int, ce: int = 0) -> Any:
    measurement = SimpleNamespace(srtt_ms=None, loss=0.25, ecn_ce_count=ce)
    return SimpleNamespace(
        bytes_recv=packets * 100,
        bytes_sent=0,
        packets_recv=packets,
        packets_sent=0,
        measurement=measurement,
    )


def test_a_peers_counters_are_unknown_at_first_and_when_they_begin_anew() -> None:
    record = PeerRecord(b"x" * 16, 0.0)
    for now, packets in enumerate((10, 14, 3, 5)):
        record.sample(peer(packets), float(now))
    record.miss()
    record.sample(peer(6), 5.0)
    packets_in = record.named("packets_in")
    assert packets_in is not None
    assert packets_in.fast.latest(7) == [None, None, 4.0, None, 2.0, None, None]
    srtt, loss = record.series[:2]
    assert srtt.fast.latest(2) == [None, None]
    assert loss.fast.latest(3) == [0.25, None, 0.25]


def test_a_node_is_sampled_with_all_its_peers() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    history = History()
    for second in range(125):
        net.run(1, step=0.25)
        a.send(b, b"x" * 50)
        history.sample(a.node, float(second))
    assert [series.metric for series in history.node.series] == list(NODE_METRICS)
    latest = {series.metric.name: series.fast.latest(1)[0] for series in history.node.series}
    assert latest["peer_count"] == 1.0
    assert latest["mesh_size"] == 2.0
    assert latest["active_sessions"] == 1.0
    assert (latest["bytes_out"] or 0) > 50
    assert (latest["packets_out"] or 0) >= 1
    bytes_in = history.node.named("bytes_in")
    assert bytes_in is not None
    assert bytes_in.fast.samples()[0] == 0.0
    assert len(bytes_in.slow) == 2
    (record,) = history.peers.values()
    assert record.is_active
    assert all(len(series.slow) == 2 for series in record.series)


def test_a_peer_is_remembered_for_a_day() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(2)
    history = History()
    history.sample(a.node, 0.0)
    b.node.stop()
    b.transport.stop()
    net.run(1)
    history.sample(a.node, PEER_RETENTION)
    (record,) = history.peers.values()
    assert not record.is_active
    history.sample(a.node, PEER_RETENTION + 1)
    assert history.peers == {}
