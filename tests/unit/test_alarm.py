"""The one timer of a node."""

from __future__ import annotations

from twisted.internet.task import Clock

from meshnode.node.alarm import Alarm


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.rings: list[tuple[float, float]] = []
        self.alarm = Alarm(self.clock, lambda now, late: self.rings.append((now, late)))

    def set(self, when: float) -> None:
        self.alarm.set(when, self.clock.seconds())


def test_it_goes_off_once_at_the_earliest_time() -> None:
    rig = Rig()
    for when in (5.0, 2.0, 3.0):
        rig.set(when)
    rig.clock.pump([1.0] * 9)
    assert rig.rings == [(2.0, 0.0)]


def test_setting_it_again_and_again_does_not_postpone_what_is_due() -> None:
    rig = Rig()
    rig.clock.advance(10)
    for _ in range(5):
        rig.set(9.0)
        rig.clock.advance(0.002)
    assert len(rig.rings) == 1


def test_it_tells_how_late_it_is() -> None:
    rig = Rig()
    rig.set(1.0)
    rig.clock.advance(60)
    assert rig.rings == [(60.0, 59.0)]


def test_what_was_due_before_it_was_set_is_not_late() -> None:
    rig = Rig()
    rig.clock.advance(100)
    rig.set(1.0)
    rig.clock.advance(0.01)
    assert rig.rings[0][1] < 0.02


def test_cancelled_it_is_silent() -> None:
    rig = Rig()
    rig.set(1.0)
    rig.alarm.cancel()
    rig.alarm.cancel()
    rig.clock.advance(5)
    assert rig.rings == []
