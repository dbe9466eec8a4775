"""Exhaustive exploration of tiny meshes: every order of a given set of events, each followed by a look at everything.

A world cannot be copied, so every branch is an execution of its own from the beginning. Orders that give each node the
same inputs at the same moments lead to the same world; only one of them is followed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .laboratory import Exploration, Laboratory, Step, perform
from .reading import ScenarioError
from .shrink import ddmin
from .trial import Guard, Outcome


@dataclass(frozen=True, slots=True)
class Finding:
    """An order of events after which something was not as it has to be: the shortest found, and how it went."""

    steps: list[Step]
    outcome: Outcome
    trace: list[str]


@dataclass(frozen=True, slots=True)
class Explored:
    """What an exploration saw. `complete` tells that every order within the depth was followed."""

    exploration: Exploration
    seed: int
    executions: int
    states: int
    ends: int
    complete: bool
    finding: Finding | None

    def trace_json(self) -> str:
        """The finding as a file that can be repeated."""
        steps = [] if self.finding is None else [str(step) for step in self.finding.steps]
        trace = {"exploration": self.exploration.name, "seed": self.seed, "steps": steps}
        return json.dumps(trace, indent=1) + "\n"


def explore(exploration: Exploration, seed: int = 1, seconds: float = float("inf")) -> Explored:
    """Follow every order of steps, until one ends badly, or the bound on states or `seconds` is reached."""
    return _Explorer(exploration, seed, time.monotonic() + seconds).explore()


class _Explorer:
    """A depth-first search. `_seen` knows the fewest steps in which each state was reached."""

    def __init__(self, exploration: Exploration, seed: int, deadline: float) -> None:
        self._exploration = exploration
        self._seed = seed
        self._deadline = deadline
        self._seen: dict[bytes, int] = {}
        self._waiting: list[list[Step]] = [[]]
        self._executions = 0
        self._ends = 0

    def explore(self) -> Explored:
        while self._waiting and len(self._seen) < self._exploration.states and time.monotonic() < self._deadline:
            steps = self._waiting.pop()
            outcome = self._follow(steps)
            if outcome is not None and not outcome.passed:
                return self._explored(self._shortest(steps, outcome))
        return self._explored(None)

    def _explored(self, finding: Finding | None) -> Explored:
        complete = not self._waiting and finding is None
        plan, states = self._exploration, len(self._seen)
        return Explored(plan, self._seed, self._executions, states, self._ends, complete, finding)

    def _follow(self, steps: list[Step]) -> Outcome | None:
        """Take `steps` and then ever the first possible one, which are added to them; other ones are put aside.

        None when a state comes up that is known.
        """
        self._executions += 1
        outcomes: list[Outcome | None] = []
        with Guard() as guard:
            lab = Laboratory(self._exploration, self._seed)
            for step in steps:
                lab.do(step)
            outcomes.append(self._on(lab, steps))
        if guard.complaint is not None:
            return Outcome(self._seed, [guard.complaint], [guard.text])
        return outcomes[0]

    def _on(self, lab: Laboratory, steps: list[Step]) -> Outcome | None:
        while not lab.broken:
            state = lab.fingerprint()
            if self._seen.get(state, self._exploration.depth + 1) <= len(steps):
                return None
            self._seen[state] = len(steps)
            possible = lab.possible() if len(steps) < self._exploration.depth else []
            if not possible:
                break
            self._waiting += [[*steps, step] for step in reversed(possible[1:])]
            steps.append(possible[0])
            lab.do(possible[0])
        self._ends += 1
        return lab.finish()

    def _shortest(self, steps: list[Step], outcome: Outcome) -> Finding:
        """Leave out the steps that the failure does not need."""
        complaint = outcome.complaints[0]

        def fails(kept: list[Step]) -> bool:
            return complaint in perform(self._exploration, self._seed, kept)[0].complaints

        few = ddmin(steps, fails)
        return Finding(few, *perform(self._exploration, self._seed, few))


def read_trace(path: Path) -> dict[str, Any]:
    """A trace file: `exploration`, `seed`, `steps`. Raises `ScenarioError`."""
    try:
        trace = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise ScenarioError(f"{path}: {error}; write a file that `meshsim explore` made") from None
    if not isinstance(trace, dict) or not {"exploration", "seed", "steps"} <= trace.keys():
        raise ScenarioError(f"{path}: this is no trace; write a file that `meshsim explore` made")
    return trace
