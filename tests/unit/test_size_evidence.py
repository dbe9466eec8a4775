"""Whether the largest frames arrive, judged by how many frames do."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.mesh.mmp.size_evidence import BATCH_SECS, PATIENCE, SizeEvidence


class Line:
    """Counts what is sent and what arrives through a path that loses frames by chance, or all above a size."""

    def __init__(self, loss: float = 0.0, narrow: int = 10_000, seed: int = 1) -> None:
        self.evidence, self.random = SizeEvidence(), Random(seed)
        self.loss, self.narrow = loss, narrow
        self.now, self.counter, self.highest, self.received = 100.0, -1, 0, 0
        self.arrived: list[int] = []

    def send(self, *sizes: int) -> None:
        for size in sizes:
            self.counter += 1
            if size <= self.narrow and self.random.random() >= self.loss:
                self.highest, self.received = self.counter, self.received + 1
        self.evidence.sent(self.counter, list(sizes), self.now)

    def second(self, *sizes: int) -> None:
        """Ten runs of these sizes, then a report."""
        for _ in range(10):
            self.send(*sizes)
            self.now += 0.1
        size = self.evidence.reported(self.highest, self.received, self.now)
        self.arrived += [] if size is None else [size]


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.15])
def test_large_frames_among_many_short_ones_are_seen_to_arrive(loss: float) -> None:
    line = Line(loss)
    for _ in range(30):
        line.second(*[1310] * 5, *[110] * 10)
    assert len(line.arrived) >= 20
    assert set(line.arrived) == {1310}


@given(
    loss=st.floats(0, 0.9),
    large=st.integers(1, 20),
    short=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_frames_that_never_arrive_are_never_said_to(loss: float, large: int, short: int, seed: int) -> None:
    line = Line(loss, narrow=500, seed=seed)
    for _ in range(12):
        line.second(*[1310] * large, *[110] * short)
    assert line.arrived == []


def test_what_is_still_on_its_way_is_not_judged() -> None:
    line = Line()
    line.second(110)
    line.send(1310)
    assert line.evidence.reported(line.highest - 1, line.received - 1, line.now) is None
    assert line.evidence.reported(line.highest, line.received, line.now + 0.5) == 1310


def test_frames_sent_after_the_batch_do_not_hide_it() -> None:
    line = Line()
    line.second(110)
    line.send(1310)
    line.now += BATCH_SECS + 0.1
    line.send(*[1310] * 5)
    assert line.evidence.reported(line.highest - 2, line.received - 2, line.now) == 1310


def test_counters_that_begin_anew_are_a_new_beginning() -> None:
    line = Line()
    for _ in range(3):
        line.second(1310)
    line.arrived.clear()
    line.counter, line.highest = -1, 0
    line.second(1310)
    assert line.arrived == []
    line.second(1310)
    assert line.arrived == [1310]


def test_a_batch_that_no_report_reaches_is_given_up() -> None:
    line = Line()
    line.second(110)
    line.send(1310)
    far_behind = line.highest - 1
    line.now += PATIENCE + 1
    assert line.evidence.reported(far_behind, line.received - 1, line.now) is None
    line.second(1310)
    assert line.arrived == [1310]


def test_as_many_losses_as_there_were_large_frames_tell_nothing() -> None:
    line = Line(narrow=500)
    line.second(110)
    line.send(1310, 110)
    assert line.evidence.reported(line.highest, line.received, line.now) is None


def test_only_frames_of_the_largest_size_count_for_it() -> None:
    line = Line(narrow=1350)
    line.second(110)
    line.send(1310, 1310)
    line.send(1400, 110)
    assert line.evidence.reported(line.highest, line.received, line.now) is None


def test_fewer_received_in_all_is_a_new_beginning_too() -> None:
    line = Line()
    line.second(110)
    line.send(1310, 110, 110)
    assert line.evidence.reported(line.highest, line.received - 8, line.now) is None
    line.received -= 8
    line.second(1310)
    assert line.arrived == [1310]


def test_a_batch_is_given_up_though_reports_go_on() -> None:
    line = Line()
    line.second(110)
    line.send(1310)
    line.now += PATIENCE + 1
    assert line.evidence.reported(line.highest + 1, line.received + 1, line.now) is None
