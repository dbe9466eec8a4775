"""Scenario files: what may stand in them, and what is said about what may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.sim import Scenario, ScenarioError, builtin_scenarios, find_scenario, parse_scenario
from meshnode.sim.links import CLASSES, LinkSpec

CHAIN = "topology: {kind: chain, nodes: 4}\n"


def parse(text: str) -> Scenario:
    return parse_scenario(text, "my.yaml", "my")


def complaint(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_topology_is_all_a_scenario_needs() -> None:
    scenario = parse(CHAIN)
    assert scenario.topology.kind == "chain"
    assert (scenario.seed, scenario.duration, scenario.events, scenario.traffic) == (1, 60.0, [], [])


def test_settings_of_the_node_may_be_overridden_down_to_the_leaves() -> None:
    settings = parse(CHAIN + "settings: {leaf_only: true, tree: {hold_down_secs: 7}, mmp: {mode: minimal}}").settings
    assert settings.leaf_only
    assert settings.tree.hold_down_secs == 7
    assert settings.tree.flap_threshold == 4
    assert settings.mmp.mode == "minimal"


def test_links_start_from_a_class_and_differ_by_edge_and_direction() -> None:
    scenario = parse(CHAIN + "link: wifi\nlinks: [{between: [n2, n1], loss: 0.5, there: {delay: 1.0}}]")
    assert scenario.link.apply(LinkSpec.of_class("perfect")) == LinkSpec(*CLASSES["wifi"])
    spec = scenario.links[0].spec.apply(LinkSpec.of_class("fibre"))
    assert (spec.there.loss, spec.back.loss) == (0.5, 0.5)
    assert (spec.there.delay, spec.back.delay) == (1.0, CLASSES["fibre"][1].delay)


def test_numbers_may_have_an_exponent_without_a_point() -> None:
    assert parse(CHAIN + "link: {bandwidth: 10e6}").link.both["bandwidth"] == 10_000_000.0


def test_names_may_be_given_as_ranges() -> None:
    (event,) = parse(CHAIN + "events: [{at: 3, crash: [n0, n1..n3]}]").events
    assert event.nodes == ["n0", "n1", "n2", "n3"]


def test_events_are_taken_in_order_of_time() -> None:
    scenario = parse(CHAIN + "events: [{at: 9, crash: root}, {at: 3, link_down: [n0, n1]}]")
    assert [event.action for event in scenario.events] == ["link_down", "crash"]


def test_nodes_of_drawn_edges_have_the_names_they_were_given() -> None:
    scenario = parse("topology: {kind: edges, edges: [[home, phone], [phone, watch]]}\nevents: [{at: 1, crash: watch}]")
    assert scenario.events[0].nodes == ["watch"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "my.yaml: the file is empty; write at least topology: {kind: ring, nodes: 7}"),
        ("- a", "my.yaml: the file: ['a'] will not do; write keys: about, seed"),
        (CHAIN + CHAIN, "my.yaml: line 2: not YAML: `topology` is there twice"),
        (CHAIN + "? [a]\n: 1", "my.yaml: line 2: not YAML: found unhashable key"),
        (CHAIN + "duration: 1e9", "my.yaml: duration: 1000000000 is out of range; write a number from 0.1 to 1000000"),
        (CHAIN + "link: {delay: slow}", "my.yaml: link.delay: 'slow' is not a number; write a number, 0 or more"),
        ("topology: {kind: edges, edges: [[a, a]]}", "my.yaml: topology.edges[0]: this link leads nowhere; write two"),
        (
            CHAIN + "links: [{between: [n0, n0], loss: 0.1}]",
            "my.yaml: links[0].between: this link leads nowhere; write two",
        ),
        (
            CHAIN + "events: [{at: 5, crash: n1, name: blow}]\nexpect: [{converged_within: 5, after: crash}]",
            "my.yaml: expect[0].after: 'crash' is unknown; write one of start, blow",
        ),
        (
            CHAIN + "traffic: [{kind: uniform}]\nexpect: [{delivered: 1, traffic: calls}]",
            "my.yaml: expect[0].traffic: 'calls' is unknown; write one of uniform",
        ),
        (
            CHAIN + "expect: [{counter: tree.nothing, at_least: 1}]",
            "my.yaml: expect[0].counter: there is no counter `tree.nothing`; write one of tree.received, tree.decode",
        ),
        ("seed: 1", "my.yaml: the file: `topology` is missing; write topology: and a value"),
        (CHAIN + "sede: 1", "my.yaml: sede: no such key; write one of about, seed"),
        (CHAIN + "seed: one", "my.yaml: seed: 'one' will not do; write a whole number from 0"),
        (CHAIN + "duration: 0", "my.yaml: duration: 0 is out of range; write a number from 0.1"),
        (CHAIN + "duration: true", "my.yaml: duration: True is not a number"),
        ("topology: [", "my.yaml: line 1: not YAML"),
        ("topology: {kind: cube}", "my.yaml: topology.kind: 'cube' is unknown; write one of chain, ring, star"),
        ("topology: {kind: chain}", "my.yaml: topology: `nodes` is missing; write nodes: and a value"),
        (
            "topology: {kind: chain, nodes: 3, arity: 2}",
            "my.yaml: topology.arity: no such key; write one of kind, nodes",
        ),
        ("topology: {kind: edges, edges: [[a, b, c]]}", "my.yaml: topology.edges[0]: a link has two ends"),
        (CHAIN + "link: string", "my.yaml: link: 'string' is unknown; write one of perfect, fibre, wifi"),
        (CHAIN + "link: {loss: 2}", "my.yaml: link.loss: 2 is out of range; write a number from 0 to 1"),
        (CHAIN + "links: [{loss: 0.1}]", "my.yaml: links[0]: which links? write between: [n0, n1], or share: 0.1"),
        (
            CHAIN + "links: [{between: [n0, n9]}]",
            "my.yaml: links[0].between[1]: there is no node `n9`; write one of n0",
        ),
        (
            CHAIN + "settings: {tree: {depth: 3}}",
            "my.yaml: settings.tree.depth: no such key; write one of announce_min",
        ),
        (CHAIN + "settings: {mmp: {mode: loud}}", "my.yaml: settings.mmp.mode: 'loud' is unknown; write one of full"),
        (CHAIN + "start: {absent: [n7]}", "my.yaml: start.absent: there is no node `n7`"),
        (CHAIN + "events: {at: 1}", "my.yaml: events: {'at': 1} is not a list; write [one, two, ...]"),
        (CHAIN + "events: [{crash: n1}]", "my.yaml: events[0]: `at` is missing"),
        (CHAIN + "events: [{at: 1}]", "my.yaml: events[0]: an event does one thing; write one of crash, stop"),
        (CHAIN + "events: [{at: 1, crash: n1, heal: true}]", "my.yaml: events[0]: an event does one thing"),
        (
            CHAIN + "events: [{at: 99, crash: n1}]",
            "my.yaml: events[0].at: 99 is out of range; write a number from 0 to 60",
        ),
        (CHAIN + "events: [{at: 1, crash: n4}]", "my.yaml: events[0].crash[0]: there is no node `n4`"),
        (
            CHAIN + "events: [{at: 1, partition: [[n0, nine]]}]",
            "my.yaml: events[0].partition[0]: there is no node `nine`",
        ),
        (
            CHAIN + "traffic: [{kind: gossip}]",
            "my.yaml: traffic[0].kind: 'gossip' is unknown; write one of pairs, uniform",
        ),
        (CHAIN + "traffic: [{kind: incast, node: root}]", "my.yaml: traffic[0].node: there is no node `root`"),
        (CHAIN + "traffic: [{kind: pairs}]", "my.yaml: traffic[0]: `pairs` is missing; write pairs: [[n0, n1]"),
        (CHAIN + "traffic: [{kind: zipf}, {kind: zipf}]", "my.yaml: traffic[1]: there is other traffic called `zipf`"),
        (CHAIN + "byzantine: [{behaviour: rude, nodes: n1}]", "my.yaml: byzantine[0].behaviour: 'rude' is unknown"),
        (CHAIN + "byzantine: [{behaviour: garbage}]", "my.yaml: byzantine[0]: who? write nodes: [n3]"),
        (
            CHAIN + "expect: [{delivered: 2}]",
            "my.yaml: expect[0].delivered: 2 is out of range; write a number from 0 to 1",
        ),
        (
            CHAIN + "expect: [{after: crash}]",
            "my.yaml: expect[0]: an expectation is about one thing; write one of conv",
        ),
        (
            CHAIN + "expect: [{counter: tree.sent}]",
            "my.yaml: expect[0]: write either at_least: or at_most: and a number",
        ),
        (CHAIN + "checks: {pace: 3}", "my.yaml: checks.pace: no such key; write one of interval, settle"),
    ],
)
def test_a_complaint_names_file_key_and_what_to_write(text: str, expected: str) -> None:
    assert complaint(text).startswith(expected)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nowhere\.yaml: No such file or directory; write a file or a name that"):
        find_scenario(str(tmp_path / "nowhere.yaml"))


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ScenarioError, match=r"x\.yaml: this is not text"):
        find_scenario(str(tmp_path / "x.yaml"))


def test_a_file_is_found_by_its_path_and_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(CHAIN)
    assert find_scenario(str(path)).name == "mine"


@pytest.mark.parametrize("name", builtin_scenarios())
def test_scenarios_that_come_with_the_program_can_be_read(name: str) -> None:
    scenario = find_scenario(name)
    assert scenario.name == name
    assert scenario.expect
