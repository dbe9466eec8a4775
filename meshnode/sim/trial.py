"""One run with nothing but its judgement kept: small enough to travel between processes, and comparable."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import extract_tb
from types import FrameType, TracebackType
from typing import Literal

from .expectations import Verdict
from .reading import ScenarioError
from .result import Result
from .run import run
from .scenario import Expectation, Scenario

PATIENCE = 600.0
"""Seconds of wall time after which a run is taken to be stuck."""

_INVARIANT = re.compile(r"invariant broken at [\d.]+ s: ([^:]+): ")
_NOTHING_TO_JUDGE = ("nothing ", "there is no ", "there are no ")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SHARE = re.compile(r"(\d+) of (\d+)\Z")


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """What a run failed for, without the figures, so that two runs can be said to fail for the same thing.

    `what` is an expectation's label, an invariant's name, or where in the code an error came from.
    """

    kind: Literal["expectation", "invariant", "error"]
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what}"


@dataclass(frozen=True, slots=True)
class Judged:
    """One expectation after a run. `badness` grows with how far off it was; infinite for what never happened."""

    label: str
    text: str
    met: bool
    measured: str
    badness: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: `complaints` in order without repetition, `failures` as a person reads them."""

    seed: int
    complaints: list[Complaint] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.complaints


class StuckRun(Exception):
    """A run used up its patience."""


def label(expectation: Expectation) -> str:
    """An expectation without its figures; what names it in a report over many runs."""
    parts = [expectation.kind]
    parts += [expectation.counter] if expectation.counter else []
    parts += [f"after {expectation.after}"] if expectation.after else []
    parts += [f"({expectation.traffic})"] if expectation.traffic else []
    return " ".join(parts)


def attempt(scenario: Scenario, seed: int, patience: float = PATIENCE) -> Outcome:
    """Run `scenario` and judge it; an error raised by a node, or a run that never ends, is a finding as well.

    Raises `ScenarioError` for a scenario that makes no sense.
    """
    results: list[Result] = []
    with Guard() as guard, _limited(patience):
        results.append(run(scenario, seed))
    if guard.complaint is not None:
        return Outcome(seed, [guard.complaint], [guard.text])
    return judged(scenario, results[0])


def judged(scenario: Scenario, result: Result) -> Outcome:
    """What matters of a result."""
    verdicts = [Verdict(entry["text"], entry["met"], entry["measured"]) for entry in result.report["expectations"]]
    found = (_INVARIANT.match(failure) for failure in result.failures)
    return assess(scenario, result.seed, verdicts, [match[1] for match in found if match is not None], result.failures)


def assess(
    scenario: Scenario, seed: int, verdicts: Sequence[Verdict], broken: Iterable[str], failures: Iterable[str]
) -> Outcome:
    """The outcome of a run with these verdicts on the expectations of `scenario`, and these invariants `broken`."""
    judgements = [
        Judged(label(expectation), verdict.text, verdict.met, verdict.measured, badness(expectation, verdict))
        for expectation, verdict in zip(scenario.expect, verdicts, strict=True)
    ]
    complaints = [Complaint("expectation", _what(judgement)) for judgement in judgements if not judgement.met]
    complaints += [Complaint("invariant", name) for name in broken]
    return Outcome(seed, list(dict.fromkeys(complaints)), list(failures), judgements)


def _what(judgement: Judged) -> str:
    """The label; told apart is an expectation that had nothing to judge, because that is another failure."""
    vacuous = judgement.measured.startswith(_NOTHING_TO_JUDGE)
    return f"{judgement.label}, with nothing to judge" if vacuous else judgement.label


def badness(expectation: Expectation, verdict: Verdict) -> float:
    """A figure to compare verdicts on one expectation by, read from what was measured; larger is worse."""
    share = _SHARE.match(verdict.measured)
    if share is not None:
        return 1.0 - int(share[1]) / int(share[2])
    number = _NUMBER.match(verdict.measured)
    if number is None:
        return float("inf")
    return -float(number[0]) if expectation.at_least else float(number[0])


class Guard:
    """Keeps what is raised inside: a node that raises has failed its trial, and the next trial wants to go on."""

    def __init__(self) -> None:
        self.complaint: Complaint | None = None
        self.text = ""

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, ScenarioError):
            return False
        if isinstance(error, StuckRun):
            self.complaint, self.text = Complaint("error", "stuck"), f"{error}"
            return True
        last = extract_tb(trace)[-1]
        where = f"{last.filename.rpartition('meshnode/')[2]}:{last.name}"
        self.complaint = Complaint("error", f"{type(error).__name__} in {where}")
        self.text = f"{type(error).__name__}: {error} ({where}, line {last.lineno})"
        return True


@contextmanager
def _limited(patience: float) -> Iterator[None]:
    """Interrupt what takes longer than `patience` seconds; elsewhere than in a main thread nothing can be done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    restore = signal.signal(signal.SIGALRM, _give_up(patience))
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, restore)


def _give_up(patience: float) -> Callable[[int, FrameType | None], None]:
    def raise_stuck(number: int, frame: FrameType | None) -> None:
        raise StuckRun(f"no end after {patience:g} s of wall time")

    return raise_stuck
