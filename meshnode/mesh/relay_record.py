"""What is known of one neighbour as a relay, and the evidence that our sessions give."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from meshnode.mesh.coordinates import NodeAddr
from meshnode.mesh.mmp.quality import Health

ASK_INTERVAL = 2.0
LEAST_PAUSE, MOST_PAUSE = 0.5, 10.0
LONGER_WITH_STRANGERS = LONGER_WITHOUT_REPORTS = 3
"""How many times as much patience is had with a peer that never returned anything, or where questions may be on the way
still as the peer does not tell that it received anything since."""

CLOCK_STEP = 0.002
"""What the time stamps of frames, in milliseconds, may be off by."""

MAX_UNDER_WAY = 64

SILENT, SILENT_THOUGH_ALIVE = 1, 4
TELLING_WEIGHT = 4
BLAME_SECS = 5.0
EXEMPT_SECS = 60.0
LEAST_HOLD, MOST_HOLD = 60.0, 3600.0
RETURNS_TO_CLEAR = 5


class Silence(NamedTuple):
    """A session that is silent against reason, and the neighbours it leads through.

    It weighs `SILENT`, or `SILENT_THOUGH_ALIVE` when its remote is known to be there.
    """

    remote: NodeAddr
    relays: Set[NodeAddr]
    weight: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What sessions tell: which are silent, and by which neighbour the remotes are heard that are heard."""

    silent: Sequence[Silence] = ()
    heard: Mapping[NodeAddr, NodeAddr] = field(default_factory=dict)

    def relays_heard(self) -> set[NodeAddr]:
        """The neighbours that bring what others say."""
        return {relay for remote, relay in self.heard.items() if relay != remote}

    def well(self) -> Set[NodeAddr]:
        """The remotes that are heard and hear us."""
        return self.heard.keys() - {silence.remote for silence in self.silent}


class RelayRecord:
    """Questions, answers and the verdict. `given_up_at` is None for a neighbour that is relied on."""

    __slots__ = (
        "_accusers",
        "_arrived",
        "_asked_at",
        "_blamed_since",
        "_by_sessions",
        "_cleared_at",
        "_exempt_until",
        "_hold",
        "_pause",
        "_proven",
        "_repeated_at",
        "_returns",
        "_unanswered",
        "_under_way",
        "_unhelped",
        "ask_at",
        "given_up_at",
        "proof",
    )

    def __init__(self) -> None:
        self.ask_at = 0.0
        self.proof = b""
        self.given_up_at: float | None = None
        self._asked_at = self._repeated_at = 0.0  # for the first and the last time with the present proof
        self._pause = LEAST_PAUSE
        self._proven = False
        self._unanswered = self._arrived = self._returns = 0  # of the unanswered ones, some surely arrived
        self._under_way: deque[float] = deque(maxlen=MAX_UNDER_WAY)  # when those were asked of which that is not known
        self._by_sessions = False
        self._blamed_since: float | None = None
        self._exempt_until = float("-inf")
        self._accusers: Set[NodeAddr] = frozenset()
        self._unhelped: Set[NodeAddr] = frozenset()  # on whose evidence it was given up, until that is reviewed
        self._cleared_at: float | None = None
        self._hold = LEAST_HOLD

    @property
    def is_suspect(self) -> bool:
        """Whether it is to be looked at, whether or not anything leads through it at the moment."""
        return bool(self.proof) or self.given_up_at is not None or self._blamed_since is not None

    # Questions

    def ask(self, new_proof: Callable[[], bytes], health: Health | None, now: float) -> None:
        """Note that `proof` is asked for now; in quick succession while it does not come back from one relied on."""
        if not self.proof:
            self.proof, self._asked_at = new_proof(), now
        elif health is None or health.heard_at > self._repeated_at:  # who stands still returns nothing either
            self._unanswered += 1
            self._under_way.append(self._repeated_at)
            self._returns = 0
        self._repeated_at = now
        self.ask_at = now + (self._pause if self.given_up_at is None else max(self._pause, ASK_INTERVAL))

    def answered(self, now: float) -> None:
        """What we asked for came back."""
        self.abandon()
        self._pause = min(max(LEAST_PAUSE, 1.5 * (now - self._asked_at), 0.75 * self._pause), MOST_PAUSE)
        self.ask_at = now + ASK_INTERVAL
        self._proven = True
        self._returns += 1

    def abandon(self) -> None:
        """Nothing is to be learnt at the moment."""
        self.proof = b""
        self._unanswered = self._arrived = 0
        self._under_way.clear()

    # Sessions

    def blame(self, accusers: Mapping[NodeAddr, int], now: float) -> None:
        """The silent sessions with these remotes speak against it, with such weights."""
        self._accusers = accusers.keys()
        if sum(accusers.values()) < TELLING_WEIGHT or now < self._exempt_until:
            self._blamed_since = None
        elif self._blamed_since is None:
            self._blamed_since = now

    def review(self, well: Set[NodeAddr], after: float, now: float) -> None:
        """Take a verdict on the evidence of sessions back when none of them is among those that are `well` in time."""
        if not self._unhelped.isdisjoint(well):
            self._unhelped = frozenset()
        elif self._unhelped and self.given_up_at is not None and now - self.given_up_at >= after:
            self._take_back(now)

    def heard_through(self, now: float) -> None:
        """A session is heard through it: if it was given up because none was, something further away was the reason."""
        if self._by_sessions:
            self._take_back(now)

    def _take_back(self, now: float) -> None:
        self.given_up_at = None
        self._unhelped = frozenset()
        self._by_sessions = False
        self._exempt_until = now + EXEMPT_SECS

    # The verdict

    def judge(self, patience: int, health: Health | None, now: float) -> None:
        """Give it up, or rely on it again."""
        refuses = self._refuses(patience, health)
        blamed = self._blamed_since is not None and now - self._blamed_since >= BLAME_SECS
        if refuses or blamed:
            if self.given_up_at is None:
                self._give_up(now)
                self._by_sessions = not refuses
                self._unhelped = self._accusers if self._by_sessions else frozenset()
        elif self._is_cleared(now):
            self.given_up_at, self._cleared_at = None, now
            self._by_sessions = False

    def _refuses(self, patience: int, health: Health | None) -> bool:
        """Whether too much went unanswered: of what the peer has received, or of all, where that takes too long."""
        if not self._proven:
            patience *= LONGER_WITH_STRANGERS
        while self._under_way and (health is None or self._under_way[0] <= health.arrived_until + CLOCK_STEP):
            self._under_way.popleft()
            self._arrived += 1
        return self._arrived >= patience or self._unanswered >= LONGER_WITHOUT_REPORTS * patience

    def _give_up(self, now: float) -> None:
        """For twice as long as the last time, if that is not long ago."""
        recently = self._cleared_at is not None and now - self._cleared_at <= MOST_HOLD
        self._hold = min(2 * self._hold, MOST_HOLD) if recently else LEAST_HOLD
        self.given_up_at = now

    def _is_cleared(self, now: float) -> bool:
        """Whether it has relayed again for long enough."""
        return (
            self.given_up_at is not None and self._returns >= RETURNS_TO_CLEAR and now - self.given_up_at >= self._hold
        )
