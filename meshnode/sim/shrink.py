"""From a scenario that fails to a small one that fails for the same reason.

Delta debugging (Zeller) over events, traffic, nodes, links and packets, then ever plainer settings and ever less time,
around and around until nothing more can go. Every candidate is judged by a whole run of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeVar

from .loading import parse_scenario
from .reading import ScenarioError
from .reductions import as_happened, explicit, node_list, parts, plainer, quicker
from .run import run
from .scenario import Expectation, Scenario
from .topology import distances
from .trial import PATIENCE, Complaint, Outcome, attempt, label
from .writing import scenario_text

MOST_RUNS = 300
MOST_SECONDS = 300.0

_OTHER_SEEDS = 6
"""Naming what the dice decided changes later throws of them; so many seeds are tried to find the failure again."""

_TAIL = 5.0
_SENSITIVE = ("hops_at_most", "latency_at_most", "depth_at_most", "stretch_at_most")
"""Expectations that a mesh with fewer links may fail to meet for no other reason than having fewer links."""

_Item = TypeVar("_Item")
Judge = Callable[[Scenario, int, float], Outcome]
"""`judge(scenario, seed, patience)` runs a scenario."""


class Spent(Exception):
    """The runs or the time allowed are used up."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing scenario found; its own seed is the one to run it with.

    `complete` tells that nothing more could be left out; otherwise the bound on runs or time came first.
    """

    scenario: Scenario
    complaint: Complaint
    failures: list[str]
    runs: int
    complete: bool

    def text(self, name: str) -> str:
        """A scenario file that says how to repeat the failure; `name` is what it is going to be called."""
        lines = [f"Fails: {self.complaint}."]
        lines += [f"  {failure}" for failure in self.failures[:5]]
        lines += [f"Repeat with: meshsim run {name} --seed {self.scenario.seed}"]
        lines += [] if self.complete else [f"Stopped shrinking after {self.runs} runs; more may be possible."]
        return scenario_text(self.scenario, "\n".join(lines))


def ddmin(items: Sequence[_Item], fails: Callable[[list[_Item]], bool]) -> list[_Item]:
    """A part of `items`, in order, that still `fails` and from which no single item can be left out any more."""
    items = list(items)
    if items and fails([]):
        return []
    pieces = 2
    while len(items) >= 2:
        size = -(-len(items) // pieces)
        for start in range(0, len(items), size):
            rest = items[:start] + items[start + size :]
            if rest and fails(rest):
                items, pieces = rest, max(pieces - 1, 2)
                break
        else:
            if size == 1:
                break
            pieces = min(pieces * 2, len(items))
    return items


def shrink(
    scenario: Scenario,
    seed: int,
    complaint: Complaint | None = None,
    runs: int = MOST_RUNS,
    seconds: float = MOST_SECONDS,
    judge: Judge = attempt,
) -> Shrunk | None:
    """Make a failing scenario small; None when it does not fail (for `complaint`, if one is given).

    The result is the same whenever the bound on `runs` and not the one on `seconds` ends the search.
    """
    return _Shrinker(replace(scenario, seed=seed), runs, seconds, judge).shrink(complaint)


class _Shrinker:
    """One search. `_best` always fails for the complaint."""

    def __init__(self, scenario: Scenario, runs: int, seconds: float, judge: Judge) -> None:
        self._best = scenario
        self._original = scenario
        self._runs_left = runs
        self._runs = 0
        self._deadline = time.monotonic() + seconds
        self._judge = judge
        self._known: dict[str, bool] = {}
        self._complaint = Complaint("error", "")
        self._failures: list[str] = []
        self._patience = PATIENCE

    def shrink(self, complaint: Complaint | None) -> Shrunk | None:
        began = time.monotonic()
        outcome = self._judge(self._best, self._best.seed, PATIENCE)
        self._runs = 1
        if outcome.passed or (complaint is not None and complaint not in outcome.complaints):
            return None
        self._complaint, self._failures = complaint or outcome.complaints[0], outcome.failures
        # A smaller scenario that takes much longer is not on the way to the same failure.
        self._patience = 10.0 + 3 * (time.monotonic() - began)
        complete = True
        try:
            self._search()
        except Spent:
            complete = False
        return Shrunk(self._best, self._complaint, self._failures, self._runs, complete)

    def _search(self) -> None:
        self._only_expectation()
        if any(item.at_least for item in self._best.expect) and self._complaint.kind == "expectation":
            return  # Less of everything is less of what there is too little of already.
        self._name_everything()
        before: Scenario | None = None
        while before != self._best:
            before = self._best
            for name, *_ in list(parts(self._best)):
                self._reduce(name)
            self._greedily(plainer)
            self._greedily(quicker)

    # -- trying

    def _fails(self, candidate: Scenario | None) -> bool:
        """Whether a candidate fails for the complaint; then it is the best so far."""
        if candidate is None or not _sensible(candidate, self._best):
            return False
        text = scenario_text(candidate)
        if text not in self._known:
            self._known[text] = self._try(candidate, text)
        if self._known[text]:
            self._best = candidate
        return self._known[text]

    def _try(self, candidate: Scenario, text: str) -> bool:
        left = self._deadline - time.monotonic()
        if self._runs >= self._runs_left or left <= 0:
            raise Spent
        self._runs += 1
        try:
            parse_scenario(text, "candidate", candidate.name)
            outcome = self._judge(candidate, candidate.seed, min(self._patience, left))
        except ScenarioError:
            return False
        if self._complaint not in outcome.complaints:
            return False
        self._failures = outcome.failures
        return True

    # -- passes

    def _only_expectation(self) -> None:
        """Expect nothing but what is not met."""
        if self._complaint.kind != "expectation":
            self._fails(replace(self._best, expect=[]))
            return
        for item in self._best.expect:
            if self._complaint.what.startswith(label(item)) and self._fails(replace(self._best, expect=[item])):
                return

    def _name_everything(self) -> None:
        """Events as they happened and nodes by name, with other seeds if the failure is not found again otherwise."""
        if self._best.events and self._complaint.kind != "error":
            report = run(self._best, self._best.seed).report
            self._fails(as_happened(self._best, report["happenings"]))
        for seed in range(self._original.seed, self._original.seed + _OTHER_SEEDS):
            if self._fails(replace(explicit(self._best, self._original.seed), seed=seed)):
                return

    def _reduce(self, name: str) -> None:
        """Delta debugging on every part of that name."""
        for position in range(sum(1 for part in parts(self._best) if part[0] == name)):
            same = [part for part in parts(self._best) if part[0] == name]
            if position >= len(same):
                return
            _, items, pick = same[position]
            base = self._best

            def fails(kept: list[Any], base: Scenario = base, pick: Any = pick) -> bool:
                return self._fails(pick(base, kept))

            ddmin(items(base), fails)

    def _greedily(self, smaller: Callable[[Scenario], Any]) -> None:
        """Take the first candidate that fails, again and again."""
        while any(self._fails(candidate) for candidate in smaller(self._best)):
            pass


def _sensible(candidate: Scenario, before: Scenario) -> bool:
    """Whether failing would mean the same as before, and not just that too much was taken away."""
    if any(_slack(item, candidate) < min(_slack(item, before), item.value + _TAIL) for item in candidate.expect):
        return False
    old = [before.duration - spec.end for spec in before.traffic]
    if candidate.traffic and old and min(candidate.duration - s.end for s in candidate.traffic) < min(_TAIL, *old):
        return False
    return not _harder(candidate, before) and not _fewer_tries(candidate, before)


def _fewer_tries(candidate: Scenario, before: Scenario) -> bool:
    """Whether a destination that has to be reached is tried less often, so that one lost packet would be enough."""
    if all(item.kind != "reachable_within" for item in candidate.expect):
        return False
    old = {spec.name: (spec.interval, spec.once, round(before.duration - spec.end, 3)) for spec in before.traffic}
    new = {spec.name: (spec.interval, spec.once, round(candidate.duration - spec.end, 3)) for spec in candidate.traffic}
    return any(tries > old[name] for name, tries in new.items())


def _slack(item: Expectation, scenario: Scenario) -> float:
    """Seconds left to the run when the clock of an expectation with a time limit starts."""
    if item.kind not in ("converged_within", "reachable_within", "new_parent_within"):
        return item.value + _TAIL
    begun = [max(event.at, event.until) for event in scenario.events if event.name == item.after]
    return scenario.duration - max(begun, default=scenario.spread)


def _harder(candidate: Scenario, before: Scenario) -> bool:
    """Whether nodes are farther apart than they were, where that alone may be why the candidate fails."""
    wanted = [item for item in candidate.expect if item.kind in _SENSITIVE or item.kind == "delivered"]
    if not wanted or before.topology.kind != "edges" or candidate.topology == before.topology:
        return False
    if all(item.kind == "delivered" and item.value == 1.0 for item in wanted):
        return False
    old, new = _neighbours(before), _neighbours(candidate)
    apart = {name: distances(name, old) for name in new}
    closer = {name: distances(name, new) for name in new}
    return any(closer[a].get(b) != apart[a].get(b) for a, b in combinations(new, 2))


def _neighbours(scenario: Scenario) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {name: [] for name in node_list(scenario)}
    for a, b in scenario.topology.named_edges:
        found[a].append(b)
        found[b].append(a)
    return found
