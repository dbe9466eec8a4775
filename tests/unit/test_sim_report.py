"""What is told about a run: report, page, exit status, and the verdict about what was expected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.sim import Result, run
from meshnode.sim.cli import main
from meshnode.sim.measures import percentile, summary
from meshnode.sim.text import render
from tests.unit.sim_rig import scenario

MESH = """
about: A chain that breaks & mends.
duration: 34
topology: {kind: chain, nodes: 4}
link: fibre
events:
  - {at: 12, crash: n3, name: blow}
  - {at: 20, restart: n3}
traffic:
  - {kind: all_to_all, from: 6, to: 32, interval: 1}
checks: {settle: 10}
"""


@pytest.fixture(scope="module")
def result() -> Result:
    return run(scenario(MESH))


def verdict(expectation: str) -> tuple[bool, str]:
    report = run(scenario(MESH + f"expect: [{{{expectation}}}]\n")).report["expectations"][0]
    return report["met"], report["measured"]


def test_the_report_tells_what_happened(result: Result) -> None:
    report = result.report
    assert result.passed
    assert (report["nodes"], report["links"], report["seed"]) == (4, 3, 1)
    assert [h["name"] for h in report["happenings"]] == ["start", "blow", "restart"]
    assert report["happenings"][1]["subjects"] == ["n3"]
    (traffic,) = report["traffic"]
    parts = ("delivered", "lost", "refused", "excused")
    assert traffic["sent"] == sum(traffic[part] for part in parts) > 200
    assert report["messages"]["tree announce"]["count"] > 5
    assert report["tree"] == {**report["tree"], "parts": 1, "roots": 1, "settled": True, "problems": []}


def test_the_report_is_json_and_has_no_wall_time(result: Result) -> None:
    assert json.loads(result.to_json()) == json.loads(json.dumps(result.report))
    assert not [key for key in result.to_json().split('"') if "wall" in key or "date" in key]


def test_the_series_grows_with_time(result: Result) -> None:
    series = result.report["series"]
    assert [sample[0] for sample in series] == sorted(sample[0] for sample in series)
    assert series[-1][1] > series[0][1]


def test_a_failed_run_tells_how_to_repeat_it_from_its_file() -> None:
    failed = run(scenario("topology: {kind: chain, nodes: 2}\nduration: 5\nexpect: [{depth_at_most: 0}]"))
    assert "repeat with: meshsim run 'my own.yaml' --seed 1" in render(failed, "my own.yaml")
    assert "repeat with: meshsim run test --seed 1" in render(failed)


def test_the_text_shows_events_traffic_and_verdict(result: Result) -> None:
    text = render(result)
    for words in (
        "A chain that breaks & mends.",
        "blow crash n3",
        "all_to_all",
        "tree announce",
        "PASSED  test, seed 1",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) < 130


@pytest.mark.parametrize(
    ("expectation", "met"),
    [
        ("converged_within: 5", True),
        ("converged_within: 0.01", False),
        ("converged_within: 5, after: restart", True),
        ("reachable_within: 8, after: restart", True),
        ("reachable_within: 0.001, after: restart", False),
        ("delivered: 0.9", True),
        ("delivered: 1.0, from: 6, to: 11", True),
        ("delivered: 1.0, from: 33.5", False),
        ("hops_at_most: 3", True),
        ("hops_at_most: 2", False),
        ("latency_at_most: 50, percentile: 50", True),
        ("latency_at_most: 0.1, percentile: 50", False),
        ("stretch_at_most: 1.0", True),
        ("stretch_at_most: 0.9", False),
        ("depth_at_most: 3", True),
        ("depth_at_most: 0", False),
        ("parent_changes_at_most: 30", True),
        ("parent_changes_at_most: 0", False),
        ("counter: tree.accepted, at_least: 4", True),
        ("counter: tree.accepted, at_most: 4", False),
    ],
)
def test_expectations_are_judged(expectation: str, met: bool) -> None:
    judged, measured = verdict(expectation)
    assert judged is met, measured
    assert measured


def test_a_new_parent_is_looked_for_after_an_event() -> None:
    text = """
duration: 30
topology: {kind: ring, nodes: 4}
link: fibre
events: [{at: 10, link_down: [deepest, parent of deepest], name: cut}]
expect: [{new_parent_within: 20, after: cut}, {new_parent_within: 1, after: cut}]
checks: {settle: 60}
"""
    good, bad = run(scenario(text)).report["expectations"]
    assert good["met"], good["measured"]
    assert not bad["met"]


def test_percentiles_are_nearest_ranks() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (0, 20, 50, 95, 100)] == [1.0, 1.0, 3.0, 5.0, 5.0]
    assert summary([]) is None
    assert summary([7.0]) == {"p50": 7.0, "p95": 7.0, "max": 7.0}


# The program


def write(directory: Path, text: str) -> str:
    path = directory / "mesh.yaml"
    path.write_text(text)
    return str(path)


def test_the_program_reports_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, drawing = tmp_path / "out.json", tmp_path / "out.html"
    arguments = ["run", write(tmp_path, MESH), "--seed", "4", "--json", str(output), "--html", str(drawing)]
    assert main(arguments) == 0
    assert "PASSED  mesh, seed 4" in capsys.readouterr().out
    assert json.loads(output.read_text())["seed"] == 4
    assert "<title>mesh, seed 4</title>" in drawing.read_text()


def test_a_failed_run_ends_with_one_and_names_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, MESH + "expect: [{hops_at_most: 1}]\n")
    assert main(["run", path, "--seed", "9"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  mesh, seed 9" in out
    assert "expected hops_at_most 1, measured 3" in out


def test_a_bad_scenario_is_one_line_and_ends_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", write(tmp_path, "topology: {kind: cube}")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "topology.kind" in captured.err


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "duration: 1\ntopology: {kind: chain, nodes: 2}")
    assert main(["run", path, "--json", str(tmp_path / "missing" / "x.json")]) == 2
    assert "x.json: No such file or directory" in capsys.readouterr().err


def test_the_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 20
    assert any(line.startswith("ring-of-seven ") for line in lines)


def test_a_reader_that_has_seen_enough_is_no_trouble() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = "import sys; from meshnode.sim.cli import main; sys.exit(main(['list']))"
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
