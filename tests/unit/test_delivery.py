"""How reliably frames arrive, judged over the past seconds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnode.mesh.mmp.delivery import (
    ASSUMED,
    ENOUGH_FRAMES,
    LASTING,
    MAX_SAMPLES,
    RECENT,
    TELLING_FRAMES,
    Delivery,
    DeliveryWindow,
)

LOOKS = st.lists(
    st.tuples(
        st.integers(0, 200),  # frames expected
        st.integers(0, 220),  # frames received: more than expected when old ones come late
        st.integers(0, 50),  # quarters of a second since the look before
        st.none() | st.integers(0, 250),  # losses to be discounted
    ),
    max_size=60,
)


class Simple:
    """What `DeliveryWindow` promises, with every sample looked at whenever something is asked."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int, int]] = []

    def add(self, received: int, expected: int, now: float) -> None:
        kept = [sample for sample in self.samples if now - sample[0] <= LASTING]
        self.samples = [*kept, (now, received, expected)][-MAX_SAMPLES:]

    def discount(self, lost: int) -> None:
        if self.samples:
            at, received, expected = self.samples[-1]
            self.samples[-1] = at, received, max(expected - lost, received)

    def since(self, age: float, enough: int) -> tuple[int, int]:
        received = expected = 0
        for sample in reversed(self.samples):
            if self.samples[-1][0] - sample[0] > age and expected >= enough:
                break
            received += sample[1]
            expected += sample[2]
        return received, expected


@given(LOOKS)
def test_running_totals_tell_what_adding_up_the_samples_would(looks: list[tuple[int, int, int, int | None]]) -> None:
    window, simple, now = DeliveryWindow(), Simple(), 0.0
    for expected, received, quarters, lost in looks:
        now += quarters / 4
        window.add(received, expected, now)
        simple.add(received, expected, now)
        if lost is not None:
            window.discount(lost)
            simple.discount(lost)
        for age in (RECENT, LASTING):
            arrived, sent = simple.since(age, ENOUGH_FRAMES)
            assert window.delivery(age).likely == _share(arrived, sent)
        arrived, sent = simple.since(RECENT, 0)
        assert window.is_vague() == (sent - arrived >= 2 and sent < TELLING_FRAMES)


def _share(arrived: int, sent: int) -> float:
    return max(min(arrived, sent) / sent, 0.01) if sent else 1.0


def test_without_samples_everything_is_taken_to_arrive() -> None:
    assert DeliveryWindow().delivery(RECENT) == ASSUMED


def test_the_less_there_is_to_go_by_the_wider_the_range() -> None:
    few, many = DeliveryWindow(), DeliveryWindow()
    few.add(8, 10, 0.0)
    many.add(800, 1000, 0.0)
    assert _width(few.delivery(RECENT)) > 4 * _width(many.delivery(RECENT))
    assert few.delivery(RECENT).likely == many.delivery(RECENT).likely == 0.8


def test_what_is_older_than_the_window_no_longer_counts() -> None:
    window = DeliveryWindow()
    window.add(0, 100, 0.0)
    window.add(100, 100, RECENT + 1)
    assert (window.delivery(RECENT).likely, window.delivery(LASTING).likely) == (1.0, 0.5)
    window.add(100, 100, LASTING + 1)
    assert window.delivery(LASTING).likely == 1.0


def _width(delivery: Delivery) -> float:
    return delivery.high - delivery.low
