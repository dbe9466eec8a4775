"""How often a relay passes on what its neighbours look for (spec 03 section 7.3)."""

from __future__ import annotations

from meshnode.mesh.coordinates import NodeAddr
from meshnode.mesh.lookup_answers import Question
from meshnode.mesh.rate_limit import IntervalLimiter, TokenBucket

FORWARD_LIMIT_AGE = 60.0
SECOND_AT = 0.4
"""Share of the interval after which a question may be relayed a second time."""

MAX_BUDGETS = 1024
ORIGINS_AT_ONCE = 64.0
ORIGINS_PER_SECOND = 16.0


class RelayLimit:
    """Which requests of a peer are relayed: each origin's for a target once per interval, and so many for it in all.

    Once in two intervals a question is relayed a second time before its interval is over: what was relayed first may
    have been lost further on, and origins ask again after a second.

    An origin is only claimed, so what one peer asks does not count against what another one does. One that had its
    answer may ask again at once: where it was sent was no good, since the target has moved meanwhile.

    After a change in the mesh many nodes ask for the same target at once; all but one would be left without an answer
    for seconds if they had to share one interval, as they do where the reference relays.
    """

    __slots__ = ("_budgets", "_repeats", "_seconds")

    def __init__(self, interval: float) -> None:
        self._repeats: IntervalLimiter[Question] = IntervalLimiter(interval, FORWARD_LIMIT_AGE)
        self._seconds: IntervalLimiter[Question] = IntervalLimiter(2 * interval, FORWARD_LIMIT_AGE)
        self._budgets: dict[tuple[NodeAddr, NodeAddr], TokenBucket] = {}

    def allow(self, target: NodeAddr, origin: NodeAddr, peer: NodeAddr, now: float) -> bool:
        """Whether to relay a request of `peer` now; a refused one costs nothing."""
        question = peer, target, origin
        if not self._repeats.allow(question, now) and not self._is_second(question, now):
            return False
        key = peer, target
        budget = self._budgets.pop(key, None)
        if budget is None:
            if len(self._budgets) >= MAX_BUDGETS:
                del self._budgets[next(iter(self._budgets))]
            budget = TokenBucket(ORIGINS_AT_ONCE, ORIGINS_PER_SECOND, now)
        self._budgets[key] = budget
        return budget.allow(now)

    def answered(self, target: NodeAddr, origin: NodeAddr, peer: NodeAddr) -> None:
        """A request that was relayed had its answer."""
        self._repeats.forget((peer, target, origin))

    def clear_repeats(self) -> None:
        """Let everybody ask again."""
        self._repeats.clear()

    def _is_second(self, question: Question, now: float) -> bool:
        is_due = self._repeats.since(question, now) >= SECOND_AT * self._repeats.interval
        return is_due and self._seconds.allow(question, now)
