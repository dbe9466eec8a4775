"""The `meshsim` commands about many runs: campaign, shrink, soak, explore."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshnode.ranges import decimal, whole

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


def add_commands(commands: Commands) -> None:
    """Teach the program's parser these commands; each sets `command` to what runs it."""
    _add_campaign(commands)
    _add_shrink(commands)
    _add_soak(commands)
    _add_explore(commands)


def add_command(commands: Commands, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    """A parser for one more command; `description` follows the summary in the command's own help."""
    first = summary[0].upper() + summary[1:]
    return commands.add_parser(name, help=summary, description=f"{first}. {description}")


def add_scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", metavar="FILE|NAME", help="a scenario file, or a name that `meshsim list` shows")


def add_seed(parser: argparse.ArgumentParser, text: str | None = None) -> None:
    """Take a seed: by default the scenario's own, with a `text` of its own 1."""
    chance = "decides all that is left to chance (default: the scenario's own)"
    default, help_text = (None, chance) if text is None else (1, f"{text} (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=whole(0), default=default, help=help_text)


def add_file(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    parser.add_argument(name, metavar="FILE", type=Path, help=text)


def _minutes(parser: argparse.ArgumentParser, default: float, text: str) -> None:
    parser.add_argument("--minutes", metavar="M", type=decimal(0), default=default, help=text)


def _shrinking(parser: argparse.ArgumentParser, directory: bool = True) -> None:
    """Options about making failing scenarios small."""
    group = parser.add_argument_group("shrinking", "What fails is made small: fewer nodes, events and packets.")
    spent = "to spend on shrinking (default: %(default)s)"
    group.add_argument("--runs", metavar="N", type=whole(1), default=MOST_RUNS, help=f"most runs {spent}")
    group.add_argument("--seconds", metavar="S", type=decimal(0), default=MOST_SECONDS, help=f"most seconds {spent}")
    if directory:
        failures = "where to write small failing scenarios (default: %(default)s)"
        group.add_argument("--failures", metavar="DIR", type=Path, default=FAILURES, help=failures)


def _jobs(parser: argparse.ArgumentParser) -> None:
    cores = len(os.sched_getaffinity(0))
    jobs = "runs at the same time (default: all processors, here %(default)s)"
    parser.add_argument("--jobs", metavar="N", type=whole(1), default=cores, help=jobs)


# -- campaign


def _add_campaign(commands: Commands) -> None:
    parser = add_command(
        commands,
        "campaign",
        "run a scenario over a grid of parameters and many seeds",
        "Reports the worst of all runs, by expectation, and writes small scenarios that fail as well.",
    )
    add_scenario(parser)
    vary = "values of a key of the file, such as link.loss=0,0.05; may be given again for another key"
    parser.add_argument("--vary", metavar="KEY=V1,V2", action="append", default=[], help=vary)
    seeds = "how many seeds at each point (default: %(default)s)"
    parser.add_argument("--seeds", metavar="N", type=whole(1), default=5, help=seeds)
    parser.add_argument(
        "--first-seed", metavar="N", type=whole(0), help="the first of them (default: the scenario's own)"
    )
    add_file(parser, "--json", "write all results there as JSON")
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
    parser = add_command(
        commands,
        "shrink",
        "make a failing scenario small",
        "Leaves out nodes, links, events and traffic as long as it fails for the same reason.",
    )
    add_scenario(parser)
    add_seed(parser)
    add_file(parser, "--output", "write the small scenario there, not to the screen")
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
    parser = add_command(
        commands,
        "soak",
        "run random scenarios until one fails or the time is up",
        "Prints how to repeat the one that failed. The same seed draws the same sequence of scenarios.",
    )
    _minutes(parser, 10.0, "how long (default: %(default)g)")
    add_seed(parser, "which sequence")
    parser.add_argument(
        "--first",
        metavar="N",
        type=whole(0),
        default=0,
        help="begin with this one of the sequence (default: %(default)s)",
    )
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
    parser = add_command(
        commands,
        "explore",
        "try every order of events in a tiny mesh",
        "Frames arrive, are lost, are repeated and overtake each other in every order. Without a name, lists what "
        "there is to explore.",
    )
    parser.add_argument("name", nargs="?", choices=[*EXPLORATIONS], metavar="NAME", help="what to explore")
    add_seed(parser, "decides the keys, and so who has the smaller address")
    own = "(default: the exploration's own)"
    parser.add_argument("--depth", metavar="N", type=whole(1), help=f"most steps in a row {own}")
    parser.add_argument("--states", metavar="N", type=whole(1), help=f"most states to look at {own}")
    _minutes(parser, float("inf"), "most time to spend (default: no end)")
    add_file(parser, "--trace", "write the failing order of events there")
    add_file(parser, "--replay", "repeat a failing order of events")
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
