"""Every scenario that comes with the program, run as it is; and the promise that a seed decides everything."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from meshnode.sim import Result, builtin_scenarios, find_scenario, run

ROOT = Path(__file__).resolve().parents[2]
ALL = builtin_scenarios()
Runs = dict[str, Future[Result]]


def run_by_name(name: str) -> Result:
    return run(find_scenario(name))


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """The scenarios that were asked for, begun at once on all processors."""
    calls = (getattr(item, "callspec", None) for item in request.session.items)
    names = [call.params["name"] for call in calls if call is not None and call.params.get("name") in ALL]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield {name: pool.submit(run_by_name, name) for name in dict.fromkeys(names)}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", ALL)
def test_scenario_goes_as_expected(name: str, runs: Runs) -> None:
    result = runs[name].result(timeout=600)
    failures = "; ".join(result.failures)
    assert not failures, f"repeat with: meshsim run {name} --seed {result.seed}"


def test_there_are_scenarios_enough_and_each_says_what_it_is_about() -> None:
    assert len(ALL) >= 20
    assert all(find_scenario(name).about for name in ALL)


@pytest.mark.parametrize("name", ["grid-3x3", "lossy-wifi"])
def test_reports_of_one_seed_are_equal_to_the_byte_in_any_process(name: str, tmp_path: Path) -> None:
    reports = []
    for hash_seed in ("1", "2"):
        output = tmp_path / f"{hash_seed}.json"
        command = [sys.executable, "-m", "meshnode.sim.cli", "run", name, "--seed", "77", "--json", str(output)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, timeout=120, check=False)
        assert done.returncode in (0, 1), done.stderr
        reports.append((done.stdout, output.read_bytes()))
    assert reports[0] == reports[1]


def test_another_seed_is_another_mesh() -> None:
    scenario = find_scenario("chain")
    assert run(scenario, 1).to_json() != run(scenario, 2).to_json()
