"""What reports say about a train of long frames: which arrived, which did not, and when nothing can be known."""

from __future__ import annotations

import pytest

from meshnode.mesh.link.mtu_probe import CHECK_FRAMES, MtuProbe
from meshnode.wire.reports import ReceiverReport

WIDE = 1400
EPOCH = object()


def report(
    highest: int, received: int, burst: int = 0, since: ReceiverReport | None = None, size: int = 200
) -> ReceiverReport:
    """A peer's report of `received` frames in all, the new ones of `size` bytes, and of the longest run it missed."""
    news = received - (0 if since is None else since.cumulative_packets_recv)
    return ReceiverReport(highest, received, 0, 0, 0, burst, burst << 8, 0, 0, 0, 0, 0, news, size * news)


class Path:
    """A probe, and the frames it sent between the reports of the other side."""

    def __init__(self) -> None:
        self.probe = MtuProbe(WIDE, 0.0)
        self.now = 2.0
        self.last = report(10, 10)

    def train(self) -> int:
        """Let the probe send what is due; its number of frames."""
        sizes = self.probe.due(self.now)
        self.probe.sent(sizes, EPOCH, self.last.highest_counter + 2, self.now)
        return len(sizes)

    def hear(self, sent: int, lost: int, burst: int, size: int = 200) -> int:
        """Take a report of so many more frames, of which `lost` are missing; how many were lost to their size."""
        before, self.now = self.last, self.now + 1.0
        received = before.cumulative_packets_recv + sent - lost
        self.last = report(before.highest_counter + sent, received, burst, before, size)
        return self.probe.report(before, self.last, EPOCH, self.now)


def test_whole_trains_that_are_missing_begin_a_ladder_and_the_ladder_finds_the_limit() -> None:
    path = Path()
    for frames in CHECK_FRAMES[:2]:
        assert path.train() == frames
        assert path.hear(frames + 2, frames, frames) == frames
    ladder = path.probe.due(path.now)
    assert ladder[0] == WIDE - 16
    assert path.train() == len(ladder)
    path.hear(len(ladder) + 2, 4, 4)
    assert path.probe.limit == WIDE - 3 * 16


def test_a_train_that_was_overtaken_has_arrived() -> None:
    """Whoever counts runs of missing frames counts those that come late, too: a short frame came before all of them."""
    path = Path()
    for _ in range(5):
        frames = path.train()
        assert path.hear(frames + 4, 0, frames) == 0
        path.now += 400
    assert path.probe.limit == WIDE
    assert len(path.probe.due(path.now)) == CHECK_FRAMES[0]


@pytest.mark.parametrize("lost", [1, CHECK_FRAMES[0] - 1])
def test_a_train_of_which_some_came_late_and_some_not_at_all_says_nothing(lost: int) -> None:
    path = Path()
    frames = path.train()
    assert path.hear(frames + 4, lost, frames) == 0
    assert path.probe.due(path.now) == ()
    assert len(path.probe.due(path.now + 5)) == frames
    assert path.probe.limit == WIDE


def test_a_train_among_many_other_losses_says_nothing() -> None:
    path = Path()
    frames = path.train()
    assert path.hear(frames + 40, frames + 20, frames, WIDE) == 0
    assert path.probe.limit == WIDE


def test_a_peer_that_never_reports_is_believed_to_get_everything() -> None:
    path = Path()
    for _ in range(20):
        path.train()
        path.now += 100
        assert path.probe.limit == WIDE
