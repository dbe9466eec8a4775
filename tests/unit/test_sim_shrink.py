"""From failing scenarios to small ones: what is left out, what must not be, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from meshnode.sim import Scenario, find_scenario, parse_scenario, run
from meshnode.sim.cli import main
from meshnode.sim.reductions import (
    BREATH,
    as_happened,
    explicit,
    moments,
    node_list,
    plainer,
    quicker,
    with_edges,
    with_nodes,
)
from meshnode.sim.shrink import Judge, ddmin, shrink
from meshnode.sim.trial import Complaint, Outcome, attempt
from meshnode.sim.world import World
from meshnode.sim.writing import scenario_text
from tests.unit.sim_rig import scenario

WRONG = Complaint("invariant", "made up")
BUSY = """
duration: 70
topology: {kind: grid, rows: 3, columns: 3}
link: wifi
links:
  - {share: 0.5, loss: 0.1}
  - {between: [n0, n1], class: lte}
settings: {tree: {hold_down_secs: 3}}
events:
  - {at: 22, crash: n4}
  - {at: 24, restart: n4}
  - {at: 26, crash: [n2, n7]}
  - {at: 45, restart: crashed}
traffic:
  - {kind: all_to_all, from: 10, interval: 20}
  - {kind: uniform, pairs: 5, from: 20, interval: 5}
byzantine:
  - {behaviour: garbage, nodes: [n8], from: 5, to: 20}
expect:
  - {delivered: 0.5}
"""


def judge_by(fails: Callable[[Scenario], bool]) -> Judge:
    """A judge who runs nothing."""

    def judge(candidate: Scenario, seed: int, patience: float) -> Outcome:
        return Outcome(seed, [WRONG] if fails(candidate) else [])

    return judge


def crashes(candidate: Scenario, name: str) -> bool:
    return any(event.action == "crash" and name in event.nodes for event in candidate.events)


# -- delta debugging


@pytest.mark.parametrize("seed", range(20))
def test_ddmin_finds_exactly_what_a_failure_needs(seed: int) -> None:
    random = Random(seed)
    items = list(range(random.randint(1, 40)))
    needed = sorted(random.sample(items, random.randint(0, min(5, len(items)))))
    assert ddmin(items, lambda kept: set(needed) <= set(kept)) == needed


def test_ddmin_leaves_nothing_that_could_go_alone() -> None:
    def fails(kept: list[int]) -> bool:
        return len(kept) >= 3 and sum(kept) % 2 == 1

    small = ddmin(list(range(11)), fails)
    assert fails(small)
    assert not any(fails(small[:i] + small[i + 1 :]) for i in range(len(small)))


def test_ddmin_needs_few_tries() -> None:
    tries = []

    def fails(kept: list[int]) -> bool:
        tries.append(kept)
        return {100, 900} <= set(kept)

    assert ddmin(list(range(1000)), fails) == [100, 900]
    assert len(tries) < 120


# -- the search


def test_everything_a_failure_does_not_need_goes() -> None:
    small = shrink(scenario(BUSY), 1, judge=judge_by(lambda s: crashes(s, "n2")))
    assert small is not None
    found = small.scenario
    assert small.complete
    assert [(event.action, event.nodes) for event in found.events] == [("crash", ["n2"])]
    assert len(node_list(found)) == 2
    assert "n2" in node_list(found)
    assert (found.traffic, found.byzantine, found.links, found.expect) == ([], [], [], [])
    assert found.link.link_class == "perfect"
    assert found.settings == scenario().settings
    assert found.duration == 2 * BREATH


def test_packets_are_left_out_one_by_one() -> None:
    def fails(candidate: Scenario) -> bool:
        flows = World(candidate, candidate.seed)
        flows.run_until(0.0)
        return any(
            (flow.source.name, flow.destination.name) == ("n3", "n7") for t in flows.traffics for flow in t.flows
        )

    small = shrink(scenario(BUSY), 1, judge=judge_by(fails))
    assert small is not None
    (spec,) = small.scenario.traffic
    assert spec.named_pairs == [("n3", "n7")]
    assert spec.once


def test_the_same_search_finds_the_same() -> None:
    texts = [
        small.text("x")
        for _ in range(2)
        if (small := shrink(scenario(BUSY), 5, judge=judge_by(lambda s: crashes(s, "n7")))) is not None
    ]
    assert len(texts) == 2
    assert texts[0] == texts[1]


def test_the_number_of_runs_is_bounded() -> None:
    runs = []

    def judge(candidate: Scenario, seed: int, patience: float) -> Outcome:
        runs.append(candidate)
        return Outcome(seed, [WRONG])

    small = shrink(scenario(BUSY), 1, runs=7, judge=judge)
    assert small is not None
    assert not small.complete
    assert len(runs) == small.runs == 7
    assert "more may be possible" in small.text("x")


def test_time_is_bounded() -> None:
    small = shrink(scenario(BUSY), 1, seconds=0.0, judge=judge_by(lambda s: True))
    assert small is not None
    assert (small.runs, small.complete) == (1, False)


def test_what_passes_cannot_be_shrunk() -> None:
    assert shrink(scenario(BUSY), 1, judge=judge_by(lambda s: False)) is None
    assert shrink(scenario(BUSY), 1, Complaint("error", "other"), judge=judge_by(lambda s: True)) is None


def test_a_small_scenario_that_fails_for_something_else_is_not_taken() -> None:
    def judge(candidate: Scenario, seed: int, patience: float) -> Outcome:
        other = Complaint("error", "other")
        return Outcome(seed, [WRONG] if len(candidate.events) == 4 else [other])

    small = shrink(scenario(BUSY), 1, WRONG, judge=judge)
    assert small is not None
    assert len(small.scenario.events) == 4


def test_too_little_of_something_is_not_shrunk() -> None:
    text = BUSY.replace("{delivered: 0.5}", "{counter: link.replayed, at_least: 1}")
    complaint = Complaint("expectation", "counter link.replayed")
    small = shrink(scenario(text), 1, complaint, judge=lambda s, seed, patience: Outcome(seed, [complaint]))
    assert small is not None
    assert len(small.scenario.events) == 4


# -- with real runs


def test_a_real_failure_becomes_a_small_file_that_still_fails() -> None:
    original = scenario(
        """
        duration: 40
        topology: {kind: star, nodes: 5}
        events: [{at: 25, link_change: {between: [n0, n1], loss: 0.9}, name: worse}, {at: 26, crash: n4}]
        traffic: [{kind: all_to_all, from: 10, interval: 2}]
        expect: [{delivered: 1.0}, {converged_within: 20}]
        """
    )
    small = shrink(original, 3, runs=120)
    assert small is not None
    assert small.complaint == Complaint("expectation", "delivered")
    again = parse_scenario(small.text("small.yaml"), "small.yaml", "small")
    assert small.complaint in attempt(again, again.seed).complaints
    assert [event.name for event in again.events] == ["worse"]
    assert len(node_list(again)) <= 3
    assert f"meshsim run small.yaml --seed {again.seed}" in small.text("small.yaml")


def test_a_time_limit_is_not_undercut_by_a_shorter_run() -> None:
    # The tree settles 30 s late at best; cutting the run before that would fail for no reason.
    text = "duration: 60\ntopology: {kind: chain, nodes: 3}\nexpect: [{converged_within: 0.001}]"
    small = shrink(scenario(text), 1)
    assert small is not None
    assert "never" not in " ".join(small.failures)


def test_the_command_writes_the_small_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    big, little = tmp_path / "big.yaml", tmp_path / "small.yaml"
    big.write_text("topology: {kind: chain, nodes: 4}\nduration: 12\nexpect: [{depth_at_most: 0}]")
    assert main(["shrink", str(big), "--output", str(little)]) == 0
    assert "expectation depth_at_most" in capsys.readouterr().out
    assert main(["run", str(little)]) == 1
    assert main(["shrink", "chain"]) == 1
    assert "nothing to shrink" in capsys.readouterr().err


# -- rewriting


@pytest.mark.parametrize("name", ["ring-of-seven", "grid-3x3", "star-of-ten", "small-world"])
def test_an_explicit_mesh_has_the_same_links_and_qualities(name: str) -> None:
    original = find_scenario(name)
    named = explicit(original, 5)
    before, after = World(original, 5), World(named, 5)
    assert {way: before.medium.ways[way].quality for way in before.medium.ways} == {
        way: after.medium.ways[way].quality for way in after.medium.ways
    }
    assert {m.name: m.address for m in before.machines} == {m.name: m.address for m in after.machines}


def test_shares_of_links_are_named_as_the_dice_fell() -> None:
    original = scenario(BUSY)
    named = explicit(original, 9)
    assert not any(override.share for override in named.links)
    before, after = World(original, 9).medium.ways, World(named, 9).medium.ways
    assert {ends: way.quality for ends, way in before.items()} == {ends: way.quality for ends, way in after.items()}


def test_selectors_and_churn_become_names() -> None:
    original = scenario(
        "duration: 40\ntopology: {kind: ring, nodes: 5}\n"
        "events: [{at: 10, crash: root}, {at: 15, churn: {until: 21, every: 3, down_for: 2}}]"
    )
    happenings = run(original).report["happenings"]
    named = as_happened(original, happenings)
    assert all(name.startswith("n") for event in named.events for name in event.nodes)
    again = run(named).report["happenings"]
    assert [(h["at_s"], h["action"], h["subjects"]) for h in again] == [
        (h["at_s"], h["action"], h["subjects"]) for h in happenings
    ]


def test_nodes_take_with_them_what_is_about_them() -> None:
    small = with_nodes(explicit(scenario(BUSY), 1), {"n0", "n1", "n2"})
    assert small is not None
    assert node_list(small) == ["n0", "n1", "n2"]
    assert [(event.at, event.nodes) for event in small.events] == [(26.0, ["n2"]), (45.0, ["crashed"])]
    assert small.byzantine == []
    assert all({*pair} <= {"n0", "n1", "n2"} for spec in small.traffic for pair in spec.named_pairs)
    assert [override.between for override in small.links if override.spec.link_class == "lte"] == [[("n0", "n1")]]


def test_no_mesh_without_a_link() -> None:
    named = explicit(scenario(BUSY), 1)
    assert with_nodes(named, {"n0"}) is None
    assert with_edges(named, []) is None


def test_plainer_scenarios_can_all_be_read_again() -> None:
    candidates = [*plainer(scenario(BUSY)), *quicker(scenario(BUSY))]
    assert len(candidates) > 10
    for candidate in candidates:
        assert parse_scenario(scenario_text(candidate), "x", candidate.name) == candidate


def test_time_goes_only_where_there_is_more_than_a_mesh_needs() -> None:
    original = replace(scenario(BUSY), expect=[])
    for candidate in quicker(original):
        assert candidate.duration < original.duration
        assert len(moments(candidate)) >= len(moments(original)) - 2


def test_an_expectation_from_some_moment_on_keeps_the_time_before_it() -> None:
    text = "duration: 100\ntopology: {kind: chain, nodes: 2}\nevents: [{at: 20, crash: n0}]\n"
    text += "expect: [{delivered: 1, from: 60}]"
    for candidate in quicker(scenario(text)):
        assert candidate.expect[0].begin - candidate.events[0].at == 40
