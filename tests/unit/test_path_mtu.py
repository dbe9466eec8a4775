"""Path MTU in both directions of a session."""

from __future__ import annotations

import pytest

from meshnode.mesh.mmp import PathMtuState
from tests.unit.mesh_rig import VECTORS

SEQUENCES = VECTORS["mmp"]["path_mtu_sequences"]


def play(steps: str) -> list[str]:
    """Run a vector and write down its results the way the vectors do."""
    state, results = PathMtuState(), []
    for step in steps.split(";"):
        op, *numbers = step.split(":")
        values = [int(number) for number in numbers]
        if op == "S":
            state.seed(values[0])
        elif op == "O":
            state.observe(values[0])
        elif op == "N":
            results.append(f"notify?{values[0]}={str(state.due(values[0] / 1000)).lower()}")
        elif op == "B":
            results.append(f"build=Some({state.build(values[0] / 1000)})")
        else:
            changed = state.apply(values[0], values[1] / 1000)
            results.append(f"apply {values[0]}@{values[1]}={str(changed).lower()}->{state.current}")
    return results


@pytest.mark.parametrize("vector", SEQUENCES[:2], ids=lambda v: v["note"])
def test_reference_sequences(vector: dict[str, object]) -> None:
    """Spec 03, section 11.9."""
    assert play(str(vector["steps"])) == vector["results"]


def test_a_value_accepted_before_is_accepted_again_after_a_decrease() -> None:
    """Where the reference gets stuck for good, three reports over two intervals are enough."""
    vector = SEQUENCES[2]
    ours = play(vector["steps"])
    assert ours[:7] == vector["results"][:7]
    assert ours[7:] == ["apply 1400@61000=true->1400", "apply 1400@71000=false->1400"]


def test_a_larger_value_must_be_reported_three_times_in_a_row() -> None:
    state = PathMtuState()
    state.seed(1280)
    assert not state.apply(1400, 0.0)
    assert not state.apply(1500, 10.0)
    assert not state.apply(1400, 20.0)
    assert not state.apply(1400, 30.0)
    assert state.apply(1400, 40.0)


def test_a_rise_that_was_broken_off_by_a_smaller_value_begins_anew() -> None:
    """Spec 03, section 11.9: the reference counts on, or never takes the value again."""
    state = PathMtuState()
    state.seed(1280)
    assert not state.apply(1400, 0.0)
    assert not state.apply(1400, 10.0)
    assert state.apply(1000, 20.0)
    assert not state.apply(1400, 30.0)
    assert not state.apply(1400, 40.0)
    assert state.apply(1400, 50.0)


def test_an_equal_report_does_not_disturb_a_pending_raise() -> None:
    state = PathMtuState()
    state.seed(1280)
    assert not state.apply(1400, 0.0)
    assert not state.apply(1280, 5.0)
    assert not state.apply(1400, 10.0)
    assert state.apply(1400, 20.0)


def test_slow_paths_are_notified_and_raised_more_slowly() -> None:
    state = PathMtuState()
    state.set_srtt(4000.0)
    state.observe(1280)
    assert state.build(0.0) == 1280
    assert not state.due(19.9)
    assert state.due(20.0)
    state.set_srtt(1.0)
    assert state.due(10.0)


def test_a_narrower_path_to_us_is_told_at_once_however_narrow_the_one_back_is() -> None:
    """Spec 03, section 11.9: the reference compares with the other direction, and tells ten seconds later."""
    state = PathMtuState()
    state.seed(1200)
    state.observe(1400)
    assert state.build(0.0) == 1400
    state.observe(1300)
    assert state.due(0.1)
    assert state.build(0.1) == 1300
    state.observe(1400)
    assert not state.due(0.2)
    assert state.due(10.1)


def test_nothing_observed_means_nothing_to_say() -> None:
    assert not PathMtuState().due(1e9)


def test_reset_forgets_the_sending_direction_only() -> None:
    state = PathMtuState()
    state.seed(1280)
    state.observe(1300)
    state.apply(1400, 0.0)
    state.reset()
    assert state.current == 65535
    assert state.observed == 1300


def test_a_report_of_short_frames_does_not_hide_that_long_ones_have_just_arrived() -> None:
    state = PathMtuState()
    state.seed(1400)
    state.carried(1400, 10.0)
    state.carried(200, 11.0)
    assert not state.claim(1000, 12.0)
    state.carried(200, 15.0)
    assert state.claim(1000, 15.5)


def test_sizes_are_watched_for_a_minute_after_a_claim_and_no_longer() -> None:
    state = PathMtuState()
    state.seed(1400)
    assert state.evidence is None
    state.claim(1000, 10.0)
    state.reported(5, 5, 69.0)
    assert state.evidence is not None
    state.reported(6, 6, 71.0)
    assert state.evidence is None
