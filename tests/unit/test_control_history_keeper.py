"""A history is on disk while its node runs: every minute, without holding anybody up, and without leaving anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from meshnode.control.history import History
from meshnode.control.history_file import load
from meshnode.control.history_keeper import INTERVAL_SECS, LEAST_PAUSES, HistoryKeeper
from tests.unit.node_rig import MeshNet

WALL = 1_700_000_000.0


class Kept:
    """A history of two nodes, and whoever keeps it; `jobs` wait for a thread until `work` lets them run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        net = MeshNet()
        self.node, other = net.host("a"), net.host("b")
        other.start()
        self.node.start(other)
        net.run(2)
        self.history, self.clock = History(), Clock()
        self.jobs: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.lines: list[str] = []
        self.keeper = HistoryKeeper(
            self.history,
            path,
            self.clock.seconds,
            lambda: WALL + self.clock.seconds(),
            self.clock.callLater,
            self._in_thread,
            lambda level, text: self.lines.append(f"{level}: {text}"),
        )
        self.keeper.start()

    def _in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((call, done))
        return done

    def sample(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.history.sample(self.node.node, self.clock.seconds())

    def work(self, seconds: float = 0.0) -> int:
        """Let everything run that waits for a thread, each job taking so long; returns how many there were."""
        count = 0
        while self.jobs:
            call, done = self.jobs.pop(0)
            count += 1
            self.clock.advance(seconds)
            try:
                result = call()
            except OSError as error:
                done.errback(error)
            else:
                done.callback(result)
        return count

    def stop(self) -> Deferred[None]:
        return ensureDeferred(self.keeper.stop())

    def saved(self) -> int:
        return load(self.path, 0.0, WALL + self.clock.seconds()).samples_taken


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "history")


def test_a_crash_loses_no_more_than_a_minute(kept: Kept) -> None:
    kept.sample(5)
    kept.clock.advance(INTERVAL_SECS - 1)
    assert kept.jobs == []
    kept.clock.advance(1)
    assert kept.work() == 5  # begin, the node, one peer, the end, and taking the place
    assert kept.saved() == 5
    assert os.listdir(kept.path.parent) == ["history"]
    kept.sample(5)
    kept.clock.advance(INTERVAL_SECS)
    kept.work()
    assert kept.saved() == 10


def test_the_old_file_is_there_until_the_new_one_is_whole(kept: Kept) -> None:
    kept.path.write_text("old")
    kept.sample()
    kept.clock.advance(INTERVAL_SECS)
    for _ in range(4):
        call, done = kept.jobs.pop(0)
        done.callback(call())
        assert kept.path.read_text() == "old"


def test_a_file_that_takes_long_is_written_less_often(kept: Kept) -> None:
    kept.sample()
    kept.clock.advance(INTERVAL_SECS)
    assert kept.work(seconds=1.0) == 5
    kept.clock.advance(LEAST_PAUSES * 5.0 - 0.1)
    assert kept.jobs == []
    kept.clock.advance(0.2)
    assert kept.work() > 0


def test_at_the_end_what_is_being_written_is_finished_first(kept: Kept) -> None:
    kept.clock.advance(INTERVAL_SECS)
    kept.sample(7)
    ended: list[None] = []
    kept.stop().addCallback(ended.append)
    assert not ended
    kept.work()
    assert ended
    assert kept.saved() == 7
    assert os.listdir(kept.path.parent) == ["history"]
    assert kept.clock.getDelayedCalls() == []


def test_a_place_that_cannot_be_written_is_one_line_until_it_is_well_again(kept: Kept) -> None:
    kept.path.mkdir()
    for _ in range(3):
        kept.clock.advance(INTERVAL_SECS)
        kept.work()
    assert len(kept.lines) == 1
    assert kept.lines[0].startswith(f"warn: the history cannot be kept in {kept.path}: ")
    assert os.listdir(kept.path.parent) == ["history"]
    kept.path.rmdir()
    kept.clock.advance(INTERVAL_SECS)
    kept.work()
    kept.path.unlink()
    kept.path.mkdir()
    kept.clock.advance(INTERVAL_SECS)
    kept.work()
    assert len(kept.lines) == 2


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".history.12345").write_text("half")
    (tmp_path / ".history.note").write_text("not ours")
    Kept(tmp_path / "history")
    assert os.listdir(tmp_path) == [".history.note"]


def test_the_next_run_goes_on(kept: Kept) -> None:
    kept.sample(9)
    kept.stop()
    assert Kept(kept.path).history.samples_taken == 9
