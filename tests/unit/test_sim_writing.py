"""Scenario files written by the program: read again, they are the scenario that was written."""

from __future__ import annotations

import pytest

from meshnode.sim import builtin_scenarios, find_scenario, parse_scenario
from meshnode.sim.writing import scenario_mapping, scenario_text
from tests.unit.sim_rig import scenario

EVERYTHING = """
about: All there is.
seed: 7
duration: 90.5
topology: {kind: ring, nodes: 6}
link: {class: wifi, loss: 0.25, there: {delay: 0.5}, back: {mtu: 1300}}
links:
  - {between: [n0, n1], class: lte}
  - {between: [[n1, n2], [n2, n3]], hidden_mtu: 900}
  - {share: 0.5, duplicate: 0.1}
settings: {leaf_only: true, tree: {hold_down_secs: 3}, lookup: {attempt_timeouts_secs: [1, 2]}, mmp: {mode: minimal}}
start: {spread: 3, dial: both, absent: [n5]}
events:
  - {at: 10, crash: [n1, root]}
  - {at: 11, restart: crashed, name: back}
  - {at: 12, join: n5}
  - {at: 13, stop: parent of n3}
  - {at: 14, link_down: [n0, n1]}
  - {at: 15, link_up: [n0, n1]}
  - {at: 16, link_change: {between: [n2, n3], class: satellite, loss: 0.5}}
  - {at: 17, link_change: {between: [n2, n3], class: ble}}
  - {at: 18, partition: [[n0, n1], [n2]]}
  - {at: 20, heal: true}
  - {at: 21, churn: {until: 30, every: 2, down_for: 1.5}}
traffic:
  - {kind: pairs, pairs: [[n0, n2]], from: 1, to: 90, name: there}
  - {kind: uniform, pairs: 3, once: true}
  - {kind: incast, node: n1, others: 2}
  - {kind: zipf, exponent: 1.5}
  - {kind: elephants_and_mice, pairs: 2, others: 5}
byzantine:
  - {behaviour: lying_root, nodes: [n4], from: 5, to: 20}
  - {behaviour: replay, between: [n0, n1], interval: 0.5}
expect:
  - {converged_within: 8, after: back}
  - {delivered: 0.5, traffic: there, from: 10, to: 20}
  - {latency_at_most: 100, percentile: 95}
  - {counter: link.replayed, at_least: 10}
  - {counter: link.malformed, at_most: 0}
checks: {settle: 5, departed_after: 400}
"""


@pytest.mark.parametrize("name", builtin_scenarios())
def test_scenarios_of_the_program_survive_being_written(name: str) -> None:
    original = find_scenario(name)
    assert parse_scenario(scenario_text(original), "again", name) == original


def test_everything_a_scenario_can_say_survives_being_written() -> None:
    original = scenario(EVERYTHING)
    assert parse_scenario(scenario_text(original), "again", original.name) == original


def test_what_has_its_default_is_not_written() -> None:
    written = scenario_mapping(scenario("topology: {kind: chain, nodes: 3}"))
    assert written == {"seed": 1, "duration": 60, "topology": {"kind": "chain", "nodes": 3}, "link": "perfect"}


def test_a_comment_stands_on_top_line_by_line() -> None:
    text = scenario_text(scenario(), "one\n\ntwo")
    assert text.startswith("# one\n#\n# two\n")
    assert parse_scenario(text, "again", "test") == scenario()
