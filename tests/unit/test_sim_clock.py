"""Virtual time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnode.sim.clock import VirtualClock


def test_calls_are_made_in_order_of_time_and_then_of_having_been_asked_for() -> None:
    clock, made = VirtualClock(), list[str]()
    clock.callLater(2.0, lambda: made.append("late"))
    clock.callLater(1.0, lambda: made.append("first of two"))
    clock.at(1.0, made.append, "second of two")
    clock.run_until(5.0)
    assert made == ["first of two", "second of two", "late"]


def test_time_stands_still_until_it_is_told_to_pass() -> None:
    clock, seen = VirtualClock(), list[float]()
    clock.callLater(0.5, lambda: seen.append(clock.seconds()))
    assert clock.seconds() == 0.0
    clock.run_until(0.4)
    assert (clock.seconds(), seen) == (0.4, [])
    clock.run_until(2.0)
    assert (clock.seconds(), seen) == (2.0, [0.5])


def test_a_call_at_the_very_end_is_made() -> None:
    clock, made = VirtualClock(), list[int]()
    clock.at(3.0, made.append, 1)
    clock.run_until(3.0)
    assert made == [1]


def test_cancelled_calls_are_not_made_and_made_ones_are_not_active() -> None:
    clock, made = VirtualClock(), list[int]()
    keep = clock.callLater(1.0, lambda: made.append(1))
    drop = clock.callLater(1.0, lambda: made.append(2))
    drop.cancel()
    drop.cancel()
    assert keep.active()
    assert not drop.active()
    clock.run_until(2.0)
    assert made == [1]
    assert not keep.active()
    assert keep.getTime() == 1.0


def test_calls_set_while_time_passes_are_made_in_the_same_run() -> None:
    clock, made = VirtualClock(), list[float]()

    def again() -> None:
        made.append(clock.seconds())
        if len(made) < 4:
            clock.callLater(1.0, again)

    clock.callLater(1.0, again)
    clock.run_until(10.0)
    assert made == [1.0, 2.0, 3.0, 4.0]


def test_a_call_for_a_moment_that_has_passed_does_not_turn_time_back() -> None:
    clock, seen = VirtualClock(), list[float]()
    clock.run_until(5.0)
    clock.at(1.0, lambda _: seen.append(clock.seconds()), None)
    clock.run_until(6.0)
    assert seen == [5.0]


def test_cancelled_calls_do_not_pile_up() -> None:
    clock = VirtualClock()
    for _ in range(50_000):
        clock.callLater(100.0, lambda: None).cancel()
    assert len(clock) < 10_000


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60))
def test_exactly_the_calls_not_cancelled_are_made_in_order(jobs: list[tuple[float, bool]]) -> None:
    clock, made = VirtualClock(), list[float]()
    for delay, cancel in jobs:
        call = clock.callLater(delay, lambda: made.append(clock.seconds()))
        if cancel:
            call.cancel()
    clock.run_until(100.0)
    assert made == sorted(delay for delay, cancel in jobs if not cancel)
