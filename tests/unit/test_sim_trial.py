"""What a run is said to have failed for."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from meshnode.sim import ScenarioError, Simulation, trial
from meshnode.sim.trial import Complaint, attempt
from tests.unit.sim_rig import CHAIN, scenario

TALK = CHAIN + "traffic: [{kind: all_to_all, from: 6}]\n"


def test_a_run_without_fault_has_no_complaints() -> None:
    outcome = attempt(scenario(TALK + "expect: [{converged_within: 10}, {delivered: 1.0}]"), 1)
    assert outcome.passed
    assert [verdict.met for verdict in outcome.judged] == [True, True]


def test_complaints_name_expectations_without_their_figures() -> None:
    outcome = attempt(scenario(TALK + "expect: [{hops_at_most: 1}, {latency_at_most: 0.5, percentile: 90}]"), 1)
    assert outcome.complaints == [
        Complaint("expectation", "hops_at_most"),
        Complaint("expectation", "latency_at_most"),
    ]


def test_an_expectation_with_nothing_to_judge_is_another_complaint() -> None:
    silent = attempt(scenario(CHAIN + "expect: [{delivered: 1.0}]"), 1)
    lossy = attempt(scenario(TALK.replace("fibre", "{loss: 0.5}") + "expect: [{delivered: 1.0}]"), 1)
    assert silent.complaints == [Complaint("expectation", "delivered, with nothing to judge")]
    assert lossy.complaints == [Complaint("expectation", "delivered")]


@pytest.mark.parametrize(
    ("expected", "worse"),
    [
        ("{delivered: 1.0}", "{class: fibre, loss: 0.6}"),
        ("{latency_at_most: 1}", "satellite"),
        ("{converged_within: 0.01}", "satellite"),
    ],
)
def test_badness_grows_with_what_is_wrong(expected: str, worse: str) -> None:
    good = attempt(scenario(f"{TALK}expect: [{expected}]"), 1).judged[0]
    bad = attempt(scenario(f"{TALK}expect: [{expected}]".replace("fibre", worse)), 1).judged[0]
    assert bad.badness > good.badness


def test_too_little_of_what_was_wanted_is_bad() -> None:
    few, many = (
        attempt(
            scenario(
                f"{TALK.replace('20', duration)}expect: [{{counter: forwarding.delivered_packets, at_least: 9999}}]"
            ),
            1,
        )
        for duration in ("13", "40")
    )
    assert few.judged[0].badness > many.judged[0].badness


def test_an_error_of_a_node_is_a_complaint_and_names_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, seconds: float) -> None:
        raise IndexError("too far")

    monkeypatch.setattr(Simulation, "advance", fail)
    outcome = attempt(scenario(), 1)
    (complaint,) = outcome.complaints
    assert complaint.kind == "error"
    assert complaint.what.startswith("IndexError in ")
    assert "too far" in outcome.failures[0]


def test_a_run_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(scenario: Any, seed: int) -> None:
        while True:
            time.monotonic()

    monkeypatch.setattr(trial, "run", hang)
    assert attempt(scenario(), 1, patience=0.05).complaints == [Complaint("error", "stuck")]


def test_a_scenario_that_makes_no_sense_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(scenario: Any, seed: int) -> None:
        raise ScenarioError("no")

    monkeypatch.setattr(trial, "run", refuse)
    with pytest.raises(ScenarioError, match="no"):
        attempt(scenario(), 1)


def test_broken_invariants_are_complaints_by_name() -> None:
    # With no patience for it, the moment at which a mesh has several roots is already a violation.
    outcome = attempt(replace(scenario(CHAIN + "start: {spread: 10}\nchecks: {settle: 0, grace: 0}")), 1)
    assert all(complaint.kind == "invariant" for complaint in outcome.complaints)
    assert not any(char.isdigit() for complaint in outcome.complaints for char in complaint.what)
