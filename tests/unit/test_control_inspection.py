"""An inspection of the machine is made once for all who ask, off the event loop, and anew when it has grown old."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from meshnode.control.encoding import Answer
from meshnode.control.inspection import FRESH_SECS, Inspection


class Threads:
    """Calls that are carried out when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], Answer], Deferred[Answer]]] = []

    def __call__(self, call: Callable[[], Answer]) -> Deferred[Answer]:
        self.calls.append((call, Deferred()))
        return self.calls[-1][1]

    def finish(self) -> None:
        call, result = self.calls.pop(0)
        result.callback(call())


def test_everybody_who_waits_gets_the_same_inspection_and_later_ones_a_new_one() -> None:
    clock, threads, made, got = Clock(), Threads(), [0], []

    def inspect() -> Answer:
        made[0] += 1
        return {"number": made[0]}

    inspection = Inspection(inspect, threads, clock.seconds)
    for _ in range(3):
        inspection.show(None).addCallback(got.append)
    assert got == []
    threads.finish()
    inspection.show(None).addCallback(got.append)
    assert [answer["number"] for answer in got] == [1, 1, 1, 1]
    clock.advance(FRESH_SECS)
    inspection.show(None).addCallback(got.append)
    threads.finish()
    assert got[-1]["number"] == 2
    assert threads.calls == []


def test_a_failure_is_told_to_all_and_not_remembered() -> None:
    threads, failed = Threads(), []
    inspection = Inspection(dict, threads, Clock().seconds)
    for _ in range(2):
        inspection.show(None).addErrback(failed.append)
    threads.calls.pop()[1].errback(OSError("no"))
    assert len(failed) == 2
    inspection.show(None)
    assert len(threads.calls) == 1
