"""The replay window against recorded traces and against a plain bitmap (spec 01 section 2.5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.noise import WINDOW, ReplayWindow

from .vectors import load, names

TRACES = load("noise")["replay_window"]["cases"]
MEMORY_BOUND = 2 * WINDOW


class BitmapWindow:
    """The window as the protocol describes it: highest counter and a bitmap."""

    def __init__(self) -> None:
        self.highest = 0
        self.bitmap = 0

    def check(self, counter: int) -> bool:
        if counter > self.highest:
            return True
        distance = self.highest - counter
        return distance < WINDOW and not self.bitmap >> distance & 1

    def accept(self, counter: int) -> None:
        if counter > self.highest:
            shift = counter - self.highest
            self.bitmap = (self.bitmap << shift if shift < WINDOW else 0) & ((1 << WINDOW) - 1) | 1
            self.highest = counter
        else:
            self.bitmap |= 1 << (self.highest - counter)


def offer(window: ReplayWindow, counter: int) -> bool:
    """Check and, when fresh, accept, with the in-order shortcut that hot code inlines."""
    if counter == window.highest + 1:
        window.highest = counter
        return True
    if not window.check(counter):
        return False
    window.accept(counter)
    return True


@pytest.mark.parametrize("trace", TRACES, ids=names(TRACES, "name"))
def test_recorded_traces_get_the_recorded_verdicts(trace: dict[str, Any]) -> None:
    shortcut, plain = ReplayWindow(), ReplayWindow()
    for step in trace["steps"]:
        assert offer(shortcut, step["counter"]) == step["accepted"]
        assert plain.check(step["counter"]) == step["accepted"]
        if step["accepted"]:
            plain.accept(step["counter"])
        assert max(shortcut.highest, 0) == max(plain.highest, 0) == step["highest_after"]


# Steps relative to the highest counter, dense around 0, the window edge, and jumps beyond it.
steps = st.one_of(
    st.integers(-6, 6),
    st.just(1),
    st.integers(-WINDOW - 3, -WINDOW + 3),
    st.integers(WINDOW - 3, WINDOW + 3),
    st.integers(-3 * WINDOW, 3 * WINDOW),
    st.integers(0, 2**40),
)


@given(st.lists(steps, max_size=60))
def test_every_verdict_is_that_of_a_bitmap(moves: list[int]) -> None:
    window, model = ReplayWindow(), BitmapWindow()
    for move in moves:
        counter = max(0, window.highest + move)
        fresh = model.check(counter)
        if fresh:
            model.accept(counter)
        assert offer(window, counter) == fresh
        assert window.gaps.bit_length() <= MEMORY_BOUND


def test_a_fresh_window_takes_counter_zero_once() -> None:
    window = ReplayWindow()
    assert window.highest == -1
    assert window.check(0)
    window.accept(0)
    assert not window.check(0)


def test_the_oldest_acceptable_counter_is_2047_below_the_highest() -> None:
    window = ReplayWindow()
    window.accept(5000)
    assert window.check(5000 - 2047)
    assert not window.check(5000 - 2048)


def test_checking_changes_nothing() -> None:
    window = ReplayWindow()
    window.accept(10)
    for counter in (3, 11, 2**64 - 2):
        assert window.check(counter)
        assert window.check(counter)
    assert window.highest == 10


def test_memory_stays_bounded_under_giant_jumps_and_steady_gaps() -> None:
    window = ReplayWindow()
    for jump in range(1, 60):
        window.accept(window.highest + jump * 2**50)
        assert window.gaps.bit_length() <= MEMORY_BOUND
    for _ in range(3 * WINDOW):
        window.accept(window.highest + 3)
        assert window.gaps.bit_length() <= MEMORY_BOUND


def test_gaps_that_left_the_window_in_order_do_not_come_back() -> None:
    window = ReplayWindow()
    window.accept(2)
    for counter in range(3, 2 + WINDOW):
        assert offer(window, counter)
    assert not window.check(0)
    assert not window.check(1)


def test_the_last_counters_are_taken() -> None:
    window = ReplayWindow()
    for counter in (2**64 - 3, 2**64 - 2, 2**64 - 1):
        assert offer(window, counter)
        assert not window.check(counter)
