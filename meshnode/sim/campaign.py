"""Campaigns: one scenario over a grid of parameters and many seeds, in parallel, and the worst of it all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .loading import parse_scenario
from .reading import ScenarioError
from .scenario import Scenario
from .shrink import MOST_RUNS, MOST_SECONDS, Shrunk, shrink
from .trial import Complaint, Judged, Outcome, attempt
from .writing import scenario_mapping

MOST_SHRUNK = 3
"""Failing runs that are shrunk, one for each thing there is to complain about."""

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_NAMED_SECTIONS = ("link",)
_T = TypeVar("_T")
_A = TypeVar("_A")


@dataclass(frozen=True, slots=True)
class Axis:
    """A key of the scenario file, such as `link.loss` or `events[0].at`, and the values it takes."""

    key: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """Read `key=value,value`. Raises `ScenarioError`."""
        key, equals, values = text.partition("=")
        if not key or not equals or not values:
            raise ScenarioError(f"--vary {text}: write key=value,value, such as link.loss=0,0.05")
        try:
            return cls(key, tuple(yaml.safe_load(f"[{values}]")))
        except yaml.YAMLError:
            raise ScenarioError(f"--vary {text}: the values cannot be read; write numbers or names") from None


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of values, with the scenario it makes."""

    values: tuple[tuple[str, Any], ...]
    scenario: Scenario

    def text(self) -> str:
        """The combination as words: key=value key=value."""
        return " ".join(f"{key}={_plain(value)}" for key, value in self.values)


def _plain(value: Any) -> str:
    written: str = yaml.safe_dump(value, default_flow_style=True).strip()
    return written.removesuffix("\n...").removesuffix("...").strip()


def grid(scenario: Scenario, axes: Sequence[Axis]) -> list[Point]:
    """Every combination of the values of all axes. Raises `ScenarioError` for one that makes no scenario."""
    plain = scenario_mapping(scenario)
    points = []
    for values in product(*(axis.values for axis in axes)):
        named = tuple((axis.key, value) for axis, value in zip(axes, values, strict=True))
        mapping = deepcopy(plain)
        for key, value in named:
            _put(mapping, key, value)
        text = yaml.safe_dump(mapping, sort_keys=False)
        points.append(Point(named, parse_scenario(text, scenario.name, scenario.name)))
    return points


def _put(mapping: dict[str, Any], key: str, value: Any) -> None:
    """Set a key far down, making the sections on the way; a link class by name becomes a section with that class."""
    steps: list[str | int] = [name or int(index) for name, index in _STEP.findall(key)]
    place: Any = mapping
    for step, following in pairwise(steps):
        if isinstance(place, dict) and isinstance(following, str):
            below = place.setdefault(step, {})
            place[step] = {"class": below} if step in _NAMED_SECTIONS and isinstance(below, str) else below
        place = _item(place, step, key)
    if isinstance(place, dict):
        place[steps[-1]] = value
    else:
        _item(place, steps[-1], key)
        place[steps[-1]] = value


def _item(place: Any, step: str | int, key: str) -> Any:
    try:
        return place[step]
    except (KeyError, IndexError, TypeError):
        raise ScenarioError(f"--vary {key}: the scenario has no `{step}` there; see its file for what it has") from None


@dataclass(frozen=True, slots=True)
class Attempted:
    """One run of a campaign."""

    point: Point
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Worst:
    """One expectation over all runs: how often it was met, and where it came off worst."""

    label: str
    met: int
    runs: int
    worst: Judged
    point: Point
    seed: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """All runs in order of the grid, then of seeds, and what became of the failing ones that were shrunk."""

    scenario: Scenario
    attempts: list[Attempted]
    shrunk: list[Shrunk]

    @property
    def failing(self) -> list[Attempted]:
        return [attempted for attempted in self.attempts if not attempted.outcome.passed]

    def worst(self) -> list[Worst]:
        """The worst of every expectation."""
        found = []
        for index in range(len(self.scenario.expect)):
            judged = [(a.outcome.judged[index], a) for a in self.attempts if a.outcome.judged]
            if judged:
                worst, where = max(judged, key=lambda pair: (not pair[0].met, pair[0].badness))
                met = sum(verdict.met for verdict, _ in judged)
                found.append(Worst(worst.label, met, len(judged), worst, where.point, where.outcome.seed))
        return found

    def complaints(self) -> dict[Complaint, list[Attempted]]:
        """Which runs failed for what."""
        found: dict[Complaint, list[Attempted]] = {}
        for attempted in self.failing:
            for complaint in attempted.outcome.complaints:
                found.setdefault(complaint, []).append(attempted)
        return found

    def report(self) -> dict[str, Any]:
        """Plain data; the same campaign gives the same report, byte for byte."""
        return {
            "scenario": self.scenario.name,
            "runs": len(self.attempts),
            "failing": len(self.failing),
            "worst": [_worst_entry(worst) for worst in self.worst()],
            "complaints": {str(what): len(runs) for what, runs in sorted(self.complaints().items())},
            "attempts": [
                {
                    "parameters": dict(attempted.point.values),
                    "seed": attempted.outcome.seed,
                    "passed": attempted.outcome.passed,
                    "failures": attempted.outcome.failures,
                    "measured": {verdict.text: verdict.measured for verdict in attempted.outcome.judged},
                }
                for attempted in self.attempts
            ],
        }


def _worst_entry(worst: Worst) -> dict[str, Any]:
    return {
        "expectation": worst.label,
        "met": worst.met,
        "runs": worst.runs,
        "measured": worst.worst.measured,
        "wanted": worst.worst.text,
        "parameters": dict(worst.point.values),
        "seed": worst.seed,
    }


def processes(jobs: int) -> ProcessPoolExecutor:
    """Workers that share nothing with this process, whatever threads it has."""
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


def in_parallel(jobs: int, work: Callable[[_A], _T], items: Sequence[_A]) -> Iterator[_T]:
    """The results of `work` on all items, in their order, `jobs` processes at a time; with one job in this process."""
    if jobs <= 1:
        yield from map(work, items)
        return
    with processes(jobs) as pool:
        futures: list[Future[_T]] = [pool.submit(work, item) for item in items]
        for future in futures:
            yield future.result()


def campaign(
    scenario: Scenario,
    axes: Sequence[Axis],
    seeds: Sequence[int],
    jobs: int = 1,
    shrink_runs: int = MOST_RUNS,
    shrink_seconds: float = MOST_SECONDS,
    told: Callable[[Attempted], None] = lambda attempted: None,
) -> Campaign:
    """Run a scenario at every point of the grid with every seed, then shrink what failed.

    `told` hears of every run as it ends, in order. Raises `ScenarioError`.
    """
    tasks = [(point, seed) for point in grid(scenario, axes) for seed in seeds]
    attempts = []
    for attempted in in_parallel(jobs, _attempt, tasks):
        attempts.append(attempted)
        told(attempted)
    found = Campaign(scenario, attempts, [])
    jobs_left = [
        (runs[0].point.scenario, runs[0].outcome.seed, complaint, shrink_runs, shrink_seconds)
        for complaint, runs in list(found.complaints().items())[:MOST_SHRUNK]
    ]
    shrunk = [small for small in in_parallel(jobs, _shrink, jobs_left) if small is not None]
    return replace(found, shrunk=shrunk)


def _attempt(task: tuple[Point, int]) -> Attempted:
    point, seed = task
    return Attempted(point, attempt(point.scenario, seed))


def _shrink(task: tuple[Scenario, int, Complaint, int, float]) -> Shrunk | None:
    scenario, seed, complaint, runs, seconds = task
    return shrink(scenario, seed, complaint, runs, seconds)


def save(shrunk: Sequence[Shrunk], directory: Path) -> list[Path]:
    """Write a scenario file for each, named after what it fails for; returns the files."""
    if shrunk:
        directory.mkdir(parents=True, exist_ok=True)
    files = []
    for small in shrunk:
        what = re.sub(r"[^a-z0-9]+", "-", str(small.complaint).lower()).strip("-")
        path = directory / f"{small.scenario.name}-{what}.yaml"
        path.write_text(small.text(str(path)))
        files.append(path)
    return files
