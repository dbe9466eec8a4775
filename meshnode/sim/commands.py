"""The `meshsim` commands about many runs: campaign, shrink, soak, explore."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .campaign import Attempted, Axis, Campaign, campaign, save
from .explorations import EXPLORATIONS
from .explore import Explored, Finding, explore, read_trace
from .laboratory import Step, perform
from .loading import find_scenario
from .reading import ScenarioError
from .shrink import MOST_RUNS, MOST_SECONDS, Shrunk, shrink
from .soak import Failure, soak
from .trial import Outcome

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

FAILURES = Path("meshsim-failures")
_SCENARIO_HELP = "a scenario file, or a name that `meshsim list` shows"


def add_commands(commands: Commands) -> None:
    """Teach the program's parser these commands; each sets `command` to what runs it."""
    _add_campaign(commands)
    _add_shrink(commands)
    _add_soak(commands)
    _add_explore(commands)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("write 1 or more")
    return number


def _shrinking(parser: argparse.ArgumentParser, directory: bool = True) -> None:
    """Options about making failing scenarios small."""
    parser.add_argument("--runs", type=_positive, default=MOST_RUNS, help="most runs to spend on shrinking")
    parser.add_argument("--seconds", type=float, default=MOST_SECONDS, help="most seconds to spend on shrinking")
    if directory:
        parser.add_argument(
            "--failures", metavar="DIR", type=Path, default=FAILURES, help="where to write small failing scenarios"
        )


def _jobs(parser: argparse.ArgumentParser) -> None:
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=_positive, default=cores, help=f"runs at the same time (now {cores})")


# -- campaign


def _add_campaign(commands: Commands) -> None:
    parser = commands.add_parser("campaign", help="run a scenario over a grid of parameters and many seeds")
    parser.add_argument("scenario", metavar="FILE|NAME", help=_SCENARIO_HELP)
    parser.add_argument(
        "--vary", metavar="KEY=V1,V2", action="append", default=[], help="a key of the file, e.g. link.loss=0,0.05"
    )
    parser.add_argument("--seeds", type=_positive, default=5, help="how many seeds, from the scenario's own on")
    parser.add_argument("--first-seed", type=int, help="begin with this seed instead")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all results there")
    parser.add_argument("--no-shrink", action="store_true", help="write failing scenarios as they are")
    _jobs(parser)
    _shrinking(parser)
    parser.set_defaults(command=_campaign)


def _campaign(options: argparse.Namespace) -> int:
    scenario = find_scenario(options.scenario)
    first = scenario.seed if options.first_seed is None else options.first_seed
    found = campaign(
        scenario,
        [Axis.parse(text) for text in options.vary],
        range(first, first + options.seeds),
        options.jobs,
        1 if options.no_shrink else options.runs,
        options.seconds,
        _tell_attempt,
    )
    print("\n".join(_campaign_lines(found)))
    if options.json is not None:
        options.json.write_text(json.dumps(found.report(), indent=1, sort_keys=True) + "\n")
    _tell_saved(found.shrunk, options.failures)
    return 1 if found.failing else 0


def _tell_attempt(attempted: Attempted) -> None:
    verdict = "passed" if attempted.outcome.passed else "FAILED"
    print(f"{verdict}  seed {attempted.outcome.seed}  {attempted.point.text()}".rstrip(), flush=True)
    for failure in attempted.outcome.failures[:3]:
        print(f"  {failure}", flush=True)


def _campaign_lines(found: Campaign) -> list[str]:
    lines = ["", f"{found.scenario.name}: {len(found.attempts)} runs, {len(found.failing)} failed", "", "worst"]
    for worst in found.worst():
        where = " ".join(part for part in (f"seed {worst.seed}", worst.point.text()) if part)
        lines.append(f"  {worst.label}: {worst.worst.measured} ({where}); met in {worst.met} of {worst.runs} runs")
    for complaint, runs in found.complaints().items():
        if complaint.kind != "expectation":
            lines.append(f"  {complaint}: {len(runs)} runs, first with seed {runs[0].outcome.seed}")
    return lines


def _tell_saved(shrunk: list[Shrunk], directory: Path) -> None:
    for small, path in zip(shrunk, save(shrunk, directory), strict=True):
        print(f"\nshrunk after {small.runs} runs: {small.complaint}")
        print(f"  repeat with: meshsim run {path} --seed {small.scenario.seed}")


# -- shrink


def _add_shrink(commands: Commands) -> None:
    parser = commands.add_parser("shrink", help="make a failing scenario small")
    parser.add_argument("scenario", metavar="FILE|NAME", help=_SCENARIO_HELP)
    parser.add_argument("--seed", type=int, help="seed to use instead of the scenario's own")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the small scenario there, not to the screen")
    _shrinking(parser, directory=False)
    parser.set_defaults(command=_shrink)


def _shrink(options: argparse.Namespace) -> int:
    scenario = find_scenario(options.scenario)
    seed = scenario.seed if options.seed is None else options.seed
    small = shrink(scenario, seed, None, options.runs, options.seconds)
    if small is None:
        print(f"{scenario.name}, seed {seed}: passed, so there is nothing to shrink", file=sys.stderr)
        return 1
    text = small.text(str(options.output or "FILE"))
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text)
        print(f"{small.complaint}: {options.output}, seed {small.scenario.seed}, after {small.runs} runs")
    return 0


# -- soak


def _add_soak(commands: Commands) -> None:
    parser = commands.add_parser("soak", help="run random scenarios until one fails or the time is up")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    parser.add_argument("--seed", type=int, default=1, help="another sequence of scenarios")
    parser.add_argument("--first", type=int, default=0, help="begin with this scenario of the sequence")
    _jobs(parser)
    _shrinking(parser)
    parser.set_defaults(command=_soak)


def _soak(options: argparse.Namespace) -> int:
    soaked = soak(
        options.minutes * 60,
        options.seed,
        options.jobs,
        options.runs,
        options.seconds,
        _tell_soaked,
        options.first,
    )
    print(f"{soaked.runs} scenarios, {soaked.virtual_seconds:.0f} s of virtual time, seed {options.seed}")
    if soaked.failure is None:
        print("PASSED")
        return 0
    _tell_failure(soaked.failure, options.failures)
    return 1


def _tell_soaked(number: int, outcome: Outcome) -> None:
    print(f"{'passed' if outcome.passed else 'FAILED'}  scenario {number}, seed {outcome.seed}", flush=True)


def _tell_failure(failure: Failure, directory: Path) -> None:
    print(f"FAILED  repeat with: meshsim soak --seed {failure.seed} --first {failure.number} --jobs 1")
    for text in failure.outcome.failures:
        print(f"  {text}")
    _tell_saved([failure.shrunk] if failure.shrunk is not None else [], directory)


# -- explore


def _add_explore(commands: Commands) -> None:
    parser = commands.add_parser("explore", help="try every order of events in a tiny mesh")
    parser.add_argument("name", nargs="?", choices=[*EXPLORATIONS], metavar="NAME", help="which; none lists them")
    parser.add_argument("--seed", type=int, default=1, help="other keys, and so another smaller address")
    parser.add_argument("--depth", type=_positive, help="most steps in a row")
    parser.add_argument("--states", type=_positive, help="most states to look at")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="most time to spend")
    parser.add_argument("--trace", metavar="FILE", type=Path, help="write the failing order of events there")
    parser.add_argument("--replay", metavar="FILE", type=Path, help="repeat a failing order of events")
    parser.set_defaults(command=_explore)


def _explore(options: argparse.Namespace) -> int:
    if options.replay is not None:
        return _replay(read_trace(options.replay))
    if options.name is None:
        for name, plan in EXPLORATIONS.items():
            print(f"{name:<24}{plan.about}")
        return 0
    plan = EXPLORATIONS[options.name]
    plan = replace(plan, depth=options.depth or plan.depth, states=options.states or plan.states)
    explored = explore(plan, options.seed, options.minutes * 60)
    print("\n".join(_explored_lines(explored)))
    if options.trace is not None and explored.finding is not None:
        options.trace.write_text(explored.trace_json())
        print(f"  repeat with: meshsim explore --replay {options.trace}")
    return 0 if explored.finding is None else 1


def _explored_lines(explored: Explored) -> list[str]:
    plan = explored.exploration
    seen = f"{explored.states} states, {explored.ends} ends, {explored.executions} executions"
    if explored.finding is None:
        how_far = f"every order of {plan.depth} steps" if explored.complete else "not every order: a bound was reached"
        return [f"PASSED  {plan.name}, seed {explored.seed}: {seen}; {how_far}"]
    return [f"FAILED  {plan.name}, seed {explored.seed}: {seen}", *_ordered(explored.finding)]


def _ordered(finding: Finding) -> list[str]:
    steps = [f"  {number:>3}. {text}" for number, text in enumerate(finding.trace, 1)]
    return [*steps, *(f"  {failure}" for failure in finding.outcome.failures)]


def _replay(trace: dict[str, Any]) -> int:
    plan = EXPLORATIONS.get(trace["exploration"])
    if plan is None:
        raise ScenarioError(f"exploration: {trace['exploration']} is unknown; write one of {', '.join(EXPLORATIONS)}")
    outcome, done = perform(plan, int(trace["seed"]), [Step.parse(text) for text in trace["steps"]])
    print("\n".join(f"  {number:>3}. {text}" for number, text in enumerate(done, 1)))
    print("PASSED" if outcome.passed else "\n".join(["FAILED", *(f"  {failure}" for failure in outcome.failures)]))
    return 0 if outcome.passed else 1
