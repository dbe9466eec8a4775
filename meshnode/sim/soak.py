"""Soaking: scenarios drawn by the dice, one after the other, until the time is up or one fails.

What is drawn stays within what every mesh has to stand: connected before anything happens, links that lose up to a
fifth of their frames, a handful of crashes, cuts and partitions that are all mended in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from random import Random
from typing import Any

import yaml

from .campaign import processes
from .loading import parse_scenario
from .scenario import Plan, Scenario, Topology
from .shrink import MOST_RUNS, MOST_SECONDS, Shrunk, shrink
from .trial import Outcome, attempt

MOST_NODES = 16
MOST_EVENTS = 5
WARM_UP = 20.0
HEALED_WITHIN = 60.0
"""Seconds after the last event within which trees and filters have to settle and everybody has to reach everybody."""

_CLASSES = ("perfect", "fibre", "fibre", "wifi", "lte", "ble", "tor", "satellite")
_LOSSY_CLASSES = frozenset(("wifi", "lte", "ble", "satellite"))


Trial = Callable[[int, int], tuple[int, Outcome]]
"""`trial(seed, number)` runs one scenario of a sequence, and says again which."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A drawn scenario that failed: `number` in the sequence of `seed`."""

    seed: int
    number: int
    scenario: Scenario
    outcome: Outcome
    shrunk: Shrunk | None


@dataclass(frozen=True, slots=True)
class Soaked:
    """How many scenarios were run, how much virtual time they took together, and the first that failed."""

    runs: int
    virtual_seconds: float
    failure: Failure | None


def draw(seed: int, number: int) -> Scenario:
    """The scenario with that number in the sequence of `seed`; always the same one."""
    random = Random(f"soak/{seed}/{number}")
    topology, own_seed = _topology(random), random.randrange(1, 1_000_000)
    plan = Plan.of(topology, Random(f"{own_seed}/topology"))
    link, overrides, lossless = _links(random)
    events, last = _events(random, plan)
    mapping: dict[str, Any] = {
        "about": f"Scenario {number} of soak seed {seed}.",
        "seed": own_seed,
        "duration": last + HEALED_WITHIN + 25.0,
        "topology": {"kind": topology.kind, **topology.parameters},
        "link": link,
        "links": overrides,
        "start": {"spread": random.choice((0.1, 1, 5)), "dial": random.choice(("one", "one", "both"))},
        "events": events,
        "traffic": _traffic(random, plan.names),
        "expect": _expected(lossless, last, events),
        "checks": {"settle": HEALED_WITHIN},
    }
    text = yaml.safe_dump({key: value for key, value in mapping.items() if value})
    return parse_scenario(text, "soak", f"soak-{seed}-{number}")


def _topology(random: Random) -> Topology:
    nodes = random.randint(2, MOST_NODES)
    shapes: list[tuple[str, dict[str, float]]] = [
        ("chain", {"nodes": min(nodes, 8)}),
        ("ring", {"nodes": max(nodes, 3)}),
        ("star", {"nodes": nodes}),
        ("full", {"nodes": min(nodes, 7)}),
        ("grid", {"rows": random.randint(2, 4), "columns": random.randint(2, 4)}),
        ("tree", {"nodes": nodes, "arity": random.randint(2, 4)}),
        ("random_geometric", {"nodes": max(nodes, 4), "degree": random.randint(3, 6)}),
        ("scale_free", {"nodes": max(nodes, 4), "attach": random.randint(1, 3)}),
        ("watts_strogatz", {"nodes": max(nodes, 5), "degree": 4, "rewire": random.choice((0.1, 0.3))}),
    ]
    return Topology(*random.choice(shapes))


def _links(random: Random) -> tuple[dict[str, Any], list[dict[str, Any]], bool]:
    """The common link, links that differ from it, and whether no frame is ever lost by the dice."""
    link: dict[str, Any] = {"class": random.choice(_CLASSES)}
    overrides: list[dict[str, Any]] = []
    if random.random() < 0.3:
        link |= {"duplicate": round(random.uniform(0, 0.1), 3), "reorder": round(random.uniform(0, 0.1), 3)}
    if random.random() < 0.3:
        overrides.append({"share": 0.3, "loss": round(random.uniform(0.01, 0.2), 3)})
    if random.random() < 0.3:
        overrides.append({"share": 0.3, "class": random.choice(_CLASSES)})
    lossy = any("loss" in item or item.get("class") in _LOSSY_CLASSES for item in (link, *overrides))
    return link, overrides, not lossy


def _events(random: Random, plan: Plan) -> tuple[list[dict[str, Any]], float]:
    """Events in order, every harm followed by its cure, and when the last of them happens."""
    events: list[dict[str, Any]] = []
    at = WARM_UP
    for _ in range(random.randint(0, MOST_EVENTS)):
        cured = round(at + random.choice((0.5, 3.0, 12.0, 40.0)), 1)
        events += _harm(random, plan, at, cured)
        at = round(cured + random.choice((1.0, 5.0, 20.0)), 1)
    return events, max((event["at"] for event in events), default=1.0)


def _harm(random: Random, plan: Plan, at: float, cured: float) -> list[dict[str, Any]]:
    kind = random.choice(("crash", "crash", "stop", "partition", "cut"))
    names = plan.names
    victim = random.choice((random.choice(names), "root", "busiest", "deepest"))
    if kind == "partition":
        side = random.sample(names, random.randint(1, max(1, len(names) // 2)))
        return [{"at": at, "partition": [side]}, {"at": cured, "heal": True}]
    if kind == "cut":
        ends = [names[end] for end in random.choice(plan.graph.edges)]
        return [{"at": at, "link_down": ends}, {"at": cured, "link_up": ends}]
    return [{"at": at, kind: victim}, {"at": cured, "restart": "crashed"}]


def _traffic(random: Random, names: list[str]) -> list[dict[str, Any]]:
    common = {"from": 10, "interval": random.choice((0.5, 1.0, 2.0)), "size": random.choice((100, 200, 1200))}
    pairs = min(30, len(names) * (len(names) - 1))
    kinds: list[dict[str, Any]] = [
        {"kind": "uniform", "pairs": pairs},
        {"kind": "permutation"},
        {"kind": "all_to_all"},
        {"kind": "incast"},
        {"kind": "fan_out"},
    ]
    return [{**random.choice(kinds if len(names) < 9 else kinds[:2] + kinds[3:]), **common}]


def _expected(lossless: bool, last: float, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    after = {"after": next(key for key in events[-1] if key != "at")} if events else {}
    expected: list[dict[str, Any]] = [
        {"converged_within": HEALED_WITHIN, **after},
        {"reachable_within": HEALED_WITHIN, **after},
    ]
    if lossless:
        expected.append({"delivered": 1.0, "from": last + HEALED_WITHIN})
    return expected


def soak(
    seconds: float,
    seed: int,
    jobs: int = 1,
    shrink_runs: int = MOST_RUNS,
    shrink_seconds: float = MOST_SECONDS,
    told: Callable[[int, Outcome], None] = lambda number, outcome: None,
    first: int = 0,
    trial: Trial | None = None,
) -> Soaked:
    """Run the scenarios of `seed` from number `first` on, until `seconds` of wall time are over or one fails.

    `told` hears of every run. The failing one is shrunk. `trial` runs a scenario instead of `run_number`.
    """
    deadline = time.monotonic() + seconds
    runs, virtual = 0, 0.0
    for number, outcome in _outcomes(trial or run_number, seed, first, jobs, deadline):
        runs, virtual = runs + 1, virtual + draw(seed, number).duration
        told(number, outcome)
        if not outcome.passed:
            scenario = draw(seed, number)
            small = shrink(scenario, scenario.seed, outcome.complaints[0], shrink_runs, shrink_seconds)
            return Soaked(runs, virtual, Failure(seed, number, scenario, outcome, small))
    return Soaked(runs, virtual, None)


def run_number(seed: int, number: int) -> tuple[int, Outcome]:
    """Run one scenario of a sequence."""
    scenario = draw(seed, number)
    return number, attempt(scenario, scenario.seed)


def _outcomes(trial: Trial, seed: int, first: int, jobs: int, deadline: float) -> Iterator[tuple[int, Outcome]]:
    """Outcomes as they come in; nothing is begun after the deadline."""
    if jobs <= 1:
        number = first
        while time.monotonic() < deadline:
            yield trial(seed, number)
            number += 1
        return
    with processes(jobs) as pool:
        number = first + jobs
        waiting: set[Future[tuple[int, Outcome]]] = {pool.submit(trial, seed, n) for n in range(first, number)}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                if time.monotonic() < deadline:
                    waiting.add(pool.submit(trial, seed, number))
                    number += 1
                yield future.result()
