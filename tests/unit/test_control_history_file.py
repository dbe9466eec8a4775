"""A history is the same after a restart, with a gap for the time between; a broken file is one line and no trouble."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshnode.control.history import History
from meshnode.control.history_file import HistoryFileError, load, save
from tests.unit.node_rig import MeshNet

WALL = 1_700_000_000.0


def at(moment: float) -> Callable[[], float]:
    """A clock that stands still."""
    return lambda: moment


@pytest.fixture(scope="module")
def history() -> History:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    history = History()
    for second in range(130):
        net.run(1, step=0.25)
        history.sample(a.node, float(second))
    return history


def test_after_a_restart_everything_is_there_and_the_time_between_is_missing(history: History, tmp_path: Path) -> None:
    file = tmp_path / "history"
    save(history, file, at(130.0), at(WALL))
    assert file.stat().st_mode & 0o777 == 0o600
    again = load(file, now=5.0, wall=WALL + 65)
    for before, after in zip(history.node.series, again.node.series, strict=True):
        assert after.fast.latest(195) == before.fast.latest(130) + [None] * 65
        assert after.slow.latest(3) == [*before.slow.latest(2), None]
    (peer,) = again.peers.values()
    assert not peer.is_active
    assert peer.last_contact == 5.0 - 66.0
    assert again.samples_taken == 195


def test_going_on_keeps_the_time_axis(history: History, tmp_path: Path) -> None:
    save(history, tmp_path / "history", at(130.0), at(WALL))
    fresh = History()
    fresh.take_over(load(tmp_path / "history", now=0.0, wall=WALL))
    net = MeshNet()
    node = net.host("a").node
    fresh.sample(node, 1.0)
    assert fresh.samples_taken == 131
    (peer,) = fresh.peers.values()
    assert peer.series[0].fast.latest(1) == [None]
    assert len(peer.series[0].fast) == len(fresh.node.series[0].fast)


def test_an_old_file_is_all_gap(history: History, tmp_path: Path) -> None:
    save(history, tmp_path / "history", at(130.0), at(WALL))
    again = load(tmp_path / "history", now=0.0, wall=WALL + 1e6)
    assert set(again.node.series[0].fast.latest(3600)) == {None}


def test_no_file_is_a_fresh_history(tmp_path: Path) -> None:
    assert load(tmp_path / "history", 0.0, WALL).samples_taken == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "saved_at": "x"}', "\x00"])
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "history"
    file.write_text(content)
    with pytest.raises(HistoryFileError, match=r"is begun anew: "):
        load(file, 0.0, WALL)


def test_what_is_no_file_is_neither_read_nor_replaced(history: History, tmp_path: Path) -> None:
    device = tmp_path / "history"
    device.symlink_to(os.devnull)
    with pytest.raises(HistoryFileError, match="cannot be read: it is not a regular file"):
        load(device, 0.0, WALL)
    with pytest.raises(HistoryFileError, match="it is not a regular file"):
        save(history, device, at(0.0), at(WALL))
    assert device.is_symlink()
    assert [path.name for path in tmp_path.iterdir()] == ["history"]


def test_series_that_are_damaged_are_found_out(history: History, tmp_path: Path) -> None:
    file = tmp_path / "history"
    save(history, file, at(130.0), at(WALL))
    document: Any = json.loads(file.read_text())
    document["node"]["peer_count"][0] = "AAA"
    file.write_text(json.dumps(document))
    with pytest.raises(HistoryFileError):
        load(file, 0.0, WALL)


def test_a_place_that_cannot_be_written_is_one_line(history: History, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryFileError, match="cannot be kept in"):
        save(history, tmp_path / "file" / "history", at(0.0), at(WALL))


def test_a_file_without_a_date_for_each_peer_is_read_as_well(history: History, tmp_path: Path) -> None:
    file = tmp_path / "history"
    save(history, file, at(130.0), at(WALL))
    document: Any = json.loads(file.read_text())
    for row in document["peers"]:
        del row["saved_at"]
    file.write_text(json.dumps(document))
    (peer,) = load(file, 0.0, WALL + 10).peers.values()
    assert peer.series[0].fast.latest(11)[1:] == [None] * 10


def test_records_packed_one_after_the_other_share_a_time_axis(history: History, tmp_path: Path) -> None:
    """Whoever is packed a few seconds later has a few samples more, and was away for less."""
    file, clock = tmp_path / "history", iter((0.0, 3.0))
    save(history, file, at(130.0), lambda: WALL + next(clock))
    again = load(file, 0.0, WALL + 10)
    (peer,) = again.peers.values()
    assert again.node.series[0].fast.latest(11)[1:] == [None] * 10
    assert peer.series[0].fast.latest(8)[1:] == [None] * 7
    assert peer.series[0].fast.latest(8)[0] is not None
