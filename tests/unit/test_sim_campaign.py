"""Campaigns: grids of parameters, the worst of many runs, and failing ones made small and repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshnode.sim import ScenarioError, find_scenario, run
from meshnode.sim.campaign import Attempted, Axis, campaign, grid, in_parallel, save
from meshnode.sim.cli import main
from tests.unit.sim_rig import scenario

SMALL = """
duration: 16
topology: {kind: chain, nodes: 3}
link: fibre
events: [{at: 11, crash: n1, name: death}, {at: 11.5, restart: n1}]
traffic: [{kind: all_to_all, from: 5, to: 10, interval: 1}]
expect: [{converged_within: 8}, {delivered: 1.0}]
"""


# -- the grid


def test_an_axis_is_read_from_text() -> None:
    assert Axis.parse("link.loss=0,0.5") == Axis("link.loss", (0, 0.5))
    assert Axis.parse("link=fibre,wifi") == Axis("link", ("fibre", "wifi"))


@pytest.mark.parametrize("text", ["link.loss", "=3", "link.loss=", "x=[", "x={a"])
def test_what_is_no_axis_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ScenarioError, match="--vary"):
        Axis.parse(text)


def test_every_combination_is_a_point_in_order() -> None:
    points = grid(scenario(SMALL), [Axis("topology.nodes", (2, 4)), Axis("seed", (1, 2, 3))])
    assert [point.text() for point in points] == [
        f"topology.nodes={nodes} seed={seed}" for nodes in (2, 4) for seed in (1, 2, 3)
    ]
    assert [point.scenario.topology.parameters["nodes"] for point in points] == [2, 2, 2, 4, 4, 4]


def test_no_axis_is_one_point_with_the_scenario_itself() -> None:
    (point,) = grid(scenario(SMALL), [])
    assert point.scenario == scenario(SMALL)


def test_keys_lead_into_sections_lists_and_link_classes() -> None:
    axes = [
        Axis("link.loss", (0.25,)),
        Axis("settings.tree.hold_down_secs", (7,)),
        Axis("events[0].at", (12,)),
        Axis("expect[1].delivered", (0.5,)),
    ]
    (point,) = grid(scenario(SMALL.replace("11.5", "13")), axes)
    made = point.scenario
    assert (made.link.link_class, made.link.both) == ("fibre", {"loss": 0.25})
    assert made.settings.tree.hold_down_secs == 7
    assert made.events[0].at == 12
    assert made.expect[1].value == 0.5


@pytest.mark.parametrize(
    "key", ["events[7].at", "traffic.interval.x.y", "nonsense", "link.colour", "topology.nodes[0]"]
)
def test_a_key_that_leads_nowhere_is_refused(key: str) -> None:
    with pytest.raises(ScenarioError):
        grid(scenario(SMALL), [Axis(key, (1,))])


# -- runs


def test_all_runs_are_judged_and_the_worst_is_known() -> None:
    heard: list[Attempted] = []
    found = campaign(
        scenario(SMALL), [Axis("link", ("fibre", "satellite"))], range(1, 4), shrink_runs=1, told=heard.append
    )
    assert len(found.attempts) == len(heard) == 6
    converged, delivered = found.worst()
    assert (converged.label, converged.runs) == ("converged_within", 6)
    assert converged.worst.badness == max(a.outcome.judged[0].badness for a in found.attempts)
    assert converged.point.text() == "link=satellite"
    assert delivered.met + sum(not a.outcome.judged[1].met for a in found.attempts) == 6


def test_a_campaign_in_processes_is_the_same_campaign() -> None:
    reports = [
        campaign(scenario(SMALL), [Axis("link.loss", (0, 0.3))], (1, 2), jobs=jobs, shrink_runs=1).report()
        for jobs in (1, 2)
    ]
    assert json.dumps(reports[0]) == json.dumps(reports[1])


def test_results_come_in_the_order_of_the_work() -> None:
    assert list(in_parallel(2, abs, [-3, 2, -1])) == [3, 2, 1]


def test_what_fails_is_written_as_a_file_that_fails_again(tmp_path: Path) -> None:
    found = campaign(scenario(SMALL), [Axis("link.loss", (0.4,))], (3,), shrink_runs=40)
    assert {str(complaint) for complaint in found.complaints()} >= {"expectation delivered"}
    paths = save(found.shrunk, tmp_path / "made")
    assert "test-expectation-delivered.yaml" in [path.name for path in paths]
    again = find_scenario(str(tmp_path / "made" / "test-expectation-delivered.yaml"))
    assert not run(again).passed


def test_a_run_is_shrunk_once_for_each_complaint() -> None:
    found = campaign(scenario(SMALL), [Axis("link.loss", (0.4, 0.5))], (3, 4), shrink_runs=1)
    assert len(found.failing) >= 2
    assert [small.complaint for small in found.shrunk] == list(found.complaints())[:3]


# -- the command


def test_the_command_reports_writes_json_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    arguments = ["--vary", "link.loss=0,0.5", "--seeds", "2", "--jobs", "1", "--no-shrink"]
    outputs = ["--json", str(tmp_path / "all.json"), "--failures", str(tmp_path / "failures")]
    assert main(["campaign", str(file), *arguments, *outputs]) == 1
    output = capsys.readouterr().out
    assert "small: 4 runs, " in output
    assert "delivered: " in output
    report = json.loads((tmp_path / "all.json").read_text())
    assert report["runs"] == 4
    assert {attempt["parameters"]["link.loss"] for attempt in report["attempts"]} == {0, 0.5}
    (command,) = [line for line in output.splitlines() if "repeat with" in line and "delivered" in line]
    assert main(command.partition("meshsim ")[2].split()) == 1


def test_the_command_succeeds_when_all_runs_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    assert main(["campaign", str(file), "--seeds", "2", "--jobs", "1"]) == 0
    assert "2 runs, 0 failed" in capsys.readouterr().out


def test_a_wrong_key_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["campaign", "chain", "--vary", "link.colour=1"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
