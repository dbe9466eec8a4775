"""Finding out that a path swallows long frames without a word (spec 03 section 9 trusts the configured MTU).

Every implementation ignores what follows the type of a Heartbeat, and tells in its ReceiverReports how many frames in a
row it missed. So a train of padded Heartbeats with consecutive counters says all there is to know: if the longest run
the peer missed is as long as the train, nothing of that size arrives. Twice the same, and a train of falling sizes
follows: as many of them as are missed from the front are too long.

Losses of other causes hardly ever take whole trains twice, or three times on a link that loses much; where there are
many, a report says nothing, unless the frames that did arrive were short ones. Towards a peer that never reports
nothing is ever concluded.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshnode.wire.reports import ReceiverReport

CHECK_FRAMES = (4, 8, 8)  # the second time more, against chance; the third time only where much else is lost
COPIES = 2
SMALLEST = 576
INTERIM = 1357  # carries the smallest MTU that IPv6 has
GRAIN = 16
"""A limit found may be this much too small; a finer one is not looked for."""

MAX_RUNGS = 20
FINE_RUNGS = 15

FIRST_CHECK = 1.5
ROUTINE_INTERVAL = 300.0
EAGER_INTERVAL = 4.0
MAX_EAGER_INTERVAL = 64.0
ANSWER_TIME = 8.0
OTHER_LOSSES = 3
MANY_LOST = 4
LOSSY = 0.1


class Train:
    """Padded frames under way: their counters, and which epoch those belong to."""

    __slots__ = ("epoch", "first", "last", "sent_at", "sizes")

    def __init__(self, sizes: Sequence[int], epoch: object, first: int, now: float) -> None:
        self.sizes = sizes
        self.epoch = epoch
        self.first = first
        self.last = first + len(sizes) - 1
        self.sent_at = now


class MtuProbe:
    """What is known about the size of frames towards one peer. Sizes are bytes of whole link frames.

    `limit` is the largest size in use, at most `configured`. The driver asks `due` for the sizes of frames to send,
    confirms them with `sent`, and hands in every pair of consecutive ReceiverReports; `losses_seen` is a reason to look
    soon.
    """

    __slots__ = ("_eager", "_failures", "_ladder", "_looked_at", "_next", "_train", "configured", "limit")

    def __init__(self, configured: int, now: float) -> None:
        self.configured = self.limit = configured
        self._train: Train | None = None
        self._next = now + FIRST_CHECK
        self._looked_at = now
        self._eager = EAGER_INTERVAL
        self._failures = 0
        self._ladder: list[int] = []

    def due(self, now: float) -> Sequence[int]:
        """Sizes of the frames to send now in this order, between two short ones; none as a rule."""
        train = self._train
        if train is not None:
            if now - train.sent_at < ANSWER_TIME:
                return ()
            self._train = None
            self._give_up(now)  # no answer is no verdict
        if now < self._next or self.configured < SMALLEST:
            return ()
        return self._ladder or [self.configured] * CHECK_FRAMES[self._failures]

    def sent(self, sizes: Sequence[int], epoch: object, first_counter: int, now: float) -> None:
        """The frames left with consecutive counters under `epoch`."""
        self._train = Train(sizes, epoch, first_counter, now)
        self._looked_at = now

    def losses_seen(self, before: ReceiverReport, report: ReceiverReport, now: float) -> None:
        """The peer misses frames; perhaps the long ones. Where it misses many, there is no time to lose."""
        if self._train is not None or self.limit != self.configured:
            return
        sent = report.highest_counter - before.highest_counter
        lost = sent - (report.cumulative_packets_recv - before.cumulative_packets_recv)
        many = lost >= MANY_LOST and lost * 3 >= sent
        pause = max(EAGER_INTERVAL, self._eager / 4) if many else self._eager
        self._next = min(self._next, max(now, self._looked_at + pause))

    def report(
        self, before: ReceiverReport, report: ReceiverReport, epoch: object, now: float, loss: float = 0.0
    ) -> int:
        """Digest two consecutive reports; returns how many frames were lost to their size, for the loss statistics.

        `loss` is the share of frames the link loses in the long run. `limit` may be another one afterwards.
        """
        train = self._train
        if train is None or report.highest_counter < train.last:
            return 0
        self._train = None
        missed = _missed(before, report, train, epoch)
        if missed is None:
            self._unclear(now)
            return 0
        if self._ladder:
            self._climbed(missed, now)
        else:
            self._checked(missed == len(train.sizes), loss > LOSSY, now)
        return missed

    def _unclear(self, now: float) -> None:
        """The reports did not tell. A ladder is in the way of long frames that get lost: let them be shorter first."""
        interim = INTERIM if self.configured > INTERIM + GRAIN else SMALLEST
        if self._ladder and self.limit > interim:
            self.limit = interim
            self._next = now
        else:
            self._next = now + EAGER_INTERVAL

    def _checked(self, failed: bool, lossy: bool, now: float) -> None:
        """The verdict on the configured size; a `lossy` link loses whole trains by chance."""
        if not failed:
            self.limit = self.configured
            self._eager = min(self._eager * 2, MAX_EAGER_INTERVAL)
            self._rest(now)
        elif self._failures == 0 or (self._failures == 1 and lossy):
            self._failures += 1
            self._next = now
        elif self.limit not in (self.configured, INTERIM, SMALLEST):
            self._rest(now)  # known already
        else:
            self._next = now
            self._ladder = _ladder(self.configured, SMALLEST)

    def _climbed(self, missed: int, now: float) -> None:
        """The verdict on a ladder of sizes: the first one of which a copy arrived is good."""
        sizes = self._ladder[::COPIES]
        rung = (missed + COPIES - 1) // COPIES
        if rung >= len(sizes):
            self._give_up(now)  # not even short frames arrived: that says nothing about sizes
        elif rung and sizes[rung - 1] - sizes[rung] > GRAIN:
            self._next = now
            self._ladder = _ladder(sizes[rung - 1], sizes[rung])
        else:
            self.limit = sizes[rung]
            self._rest(now)

    def _rest(self, now: float) -> None:
        """Nothing is to be found out before the next routine look."""
        self._ladder = []
        self._failures = 0
        self._next = now + ROUTINE_INTERVAL

    def _give_up(self, now: float) -> None:
        self._ladder = []
        self._failures = 0
        self._next = now + self._eager
        self._eager = min(self._eager * 2, MAX_EAGER_INTERVAL)


def _ladder(bad: int, good: int) -> list[int]:
    """Sizes to try between one known not to arrive and one believed to: finely at first, then in larger steps."""
    sizes = [bad - GRAIN * n for n in range(1, FINE_RUNGS + 1) if bad - GRAIN * n > good]
    rest = (sizes[-1] if sizes else bad) - good
    steps = min(MAX_RUNGS - len(sizes), rest // GRAIN)
    sizes += [good + rest * n // steps for n in range(steps - 1, 0, -1)]
    return [size for size in (*sizes, good) for _ in range(COPIES)]


def _missed(before: ReceiverReport, report: ReceiverReport, train: Train, epoch: object) -> int | None:
    """How many frames the peer missed from the front of the train; None when the reports do not tell."""
    received = report.cumulative_packets_recv - before.cumulative_packets_recv
    whole = received == report.interval_packets_recv and before.highest_counter < train.first
    if train.epoch is not epoch or not whole:
        return None
    lost = report.highest_counter - before.highest_counter - received
    if lost <= 0:
        return 0  # a late frame was counted among the missed before it came; all of them came
    missed = min(report.max_burst_loss, len(train.sizes))
    if lost < missed:
        return None  # some of the run came after all
    other_losses = lost - missed
    short_ones = report.interval_bytes_recv < received * train.sizes[0] // 2
    return missed if other_losses <= OTHER_LOSSES or (short_ones and len(set(train.sizes)) == 1) else None
