"""Scenarios drawn by the dice: sound, within bounds, repeatable; and a soak that stops in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.sim import Scenario, parse_scenario, soak
from meshnode.sim.cli import main
from meshnode.sim.scenario import Plan
from meshnode.sim.soak import HEALED_WITHIN, MOST_EVENTS, MOST_NODES, WARM_UP, draw, run_number
from meshnode.sim.trial import Complaint, Outcome
from meshnode.sim.world import World
from meshnode.sim.writing import scenario_text

SAMPLE = range(200)


@pytest.fixture(scope="module")
def drawn() -> list[Scenario]:
    return [draw(9, number) for number in SAMPLE]


def test_a_number_of_a_sequence_is_always_the_same_scenario(drawn: list[Scenario]) -> None:
    assert [draw(9, number) for number in SAMPLE] == drawn
    assert draw(8, 0) != draw(9, 0)


def test_scenarios_are_scenarios(drawn: list[Scenario]) -> None:
    for scenario in drawn:
        assert parse_scenario(scenario_text(scenario), "again", scenario.name) == scenario


def test_bounds_are_kept(drawn: list[Scenario]) -> None:
    for scenario in drawn:
        assert 2 <= len(Plan.of(scenario.topology, World(scenario, 1).dice("topology")).names) <= MOST_NODES
        assert len(scenario.events) <= 2 * MOST_EVENTS
        assert all(event.at >= WARM_UP for event in scenario.events)
        ways = World(scenario, scenario.seed).medium.ways.values()
        assert all(way.quality.loss <= 0.2 for way in ways)


def test_every_harm_has_its_cure(drawn: list[Scenario]) -> None:
    cures = {"crash": "restart", "stop": "restart", "partition": "heal", "link_down": "link_up"}
    for scenario in drawn:
        actions = [event.action for event in scenario.events]
        assert all(cures[harm] == cure for harm, cure in zip(actions[::2], actions[1::2], strict=True))


def test_meshes_get_the_time_to_heal_that_is_expected_of_them(drawn: list[Scenario]) -> None:
    for scenario in drawn:
        last = max((event.at for event in scenario.events), default=0)
        assert scenario.duration >= last + HEALED_WITHIN + 5


def test_there_is_everything_among_the_scenarios(drawn: list[Scenario]) -> None:
    assert len({scenario.topology.kind for scenario in drawn}) == 9
    assert {event.action for scenario in drawn for event in scenario.events} >= {
        "crash",
        "stop",
        "partition",
        "link_down",
    }
    assert len({spec.kind for scenario in drawn for spec in scenario.traffic}) == 5


# -- soaking


def fails_at(wrong: int) -> soak.Trial:
    def trial(seed: int, number: int) -> tuple[int, Outcome]:
        complaints = [Complaint("invariant", "made up")] if number == wrong else []
        return number, Outcome(draw(seed, number).seed, complaints, ["made up"])

    return trial


def test_a_soak_ends_at_the_first_failure_and_names_it() -> None:
    soaked = soak.soak(60, 4, trial=fails_at(3))
    assert soaked.runs == 4
    assert soaked.virtual_seconds == sum(draw(4, number).duration for number in range(4))
    assert soaked.failure is not None
    assert (soaked.failure.seed, soaked.failure.number) == (4, 3)
    assert soaked.failure.scenario == draw(4, 3)


def test_a_soak_can_begin_further_on() -> None:
    soaked = soak.soak(60, 4, trial=fails_at(7), first=7)
    assert soaked.runs == 1
    assert soaked.failure is not None


def test_no_scenario_is_begun_when_the_time_is_up() -> None:
    assert soak.soak(0, 1) == soak.Soaked(0, 0.0, None)


def test_outcomes_of_parallel_soaks_carry_their_numbers() -> None:
    heard: list[int] = []
    soaked = soak.soak(0.01, 2, jobs=2, told=lambda number, outcome: heard.append(number))
    assert sorted(heard)[: soaked.runs] == list(range(soaked.runs))


def test_a_drawn_scenario_runs_for_real() -> None:
    number, outcome = run_number(1, 9)
    assert number == 9
    assert outcome.seed == draw(1, 9).seed
    assert len(outcome.judged) >= 2


def test_the_command_prints_how_to_repeat_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "run_number", fails_at(1))
    arguments = ["--minutes", "1", "--seed", "6", "--jobs", "1", "--failures", str(tmp_path)]
    assert main(["soak", *arguments]) == 1
    assert "meshsim soak --seed 6 --first 1 --jobs 1" in capsys.readouterr().out


def test_the_command_passes_when_nothing_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soak", "--minutes", "0", "--jobs", "1"]) == 0
    assert "PASSED" in capsys.readouterr().out
