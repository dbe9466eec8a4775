"""Changes of the network, with a socket pair in the kernel's place."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from twisted.internet.testing import MemoryReactorClock

from meshnode.transports.network_watch import NetworkWatch, kernel_events


class Rig:
    def __init__(self) -> None:
        self.kernel, self.ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.reactor = MemoryReactorClock()
        self.calls: list[float] = []
        self.watch = NetworkWatch(self.reactor, lambda: self.calls.append(self.reactor.seconds()), lambda: self.ours)

    def change(self) -> None:
        self.kernel.send(b"an interface")
        self.watch.doRead()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    assert made.watch.start() is None
    yield made
    made.watch.stop()
    made.kernel.close()


def test_a_group_of_changes_makes_one_call_soon(rig: Rig) -> None:
    for _ in range(5):
        rig.change()
        rig.reactor.advance(0.005)
    assert rig.calls == []
    rig.reactor.advance(0.05)
    assert len(rig.calls) == 1


def test_endless_changes_make_few_calls(rig: Rig) -> None:
    for _ in range(200):
        rig.change()
        rig.reactor.advance(0.01)
    assert 7 <= len(rig.calls) <= 9


def test_the_last_change_is_never_passed_over(rig: Rig) -> None:
    rig.change()
    rig.reactor.advance(0.05)
    rig.change()
    rig.reactor.advance(1)
    assert len(rig.calls) == 2


def test_reading_is_bounded(rig: Rig) -> None:
    for _ in range(5):
        rig.kernel.send(b"x")
    rig.watch.doRead()
    with pytest.raises(BlockingIOError):
        rig.ours.recv(1)


def test_stopped_it_calls_nobody(rig: Rig) -> None:
    rig.change()
    rig.watch.stop()
    rig.reactor.advance(1)
    assert rig.calls == []
    assert rig.reactor.getReaders() == []


def test_a_system_without_such_events_is_told() -> None:
    def refused() -> socket.socket:
        raise OSError("not supported")

    watch = NetworkWatch(MemoryReactorClock(), lambda: None, refused)
    problem = watch.start()
    assert problem is not None
    assert "not supported" in problem
    watch.stop()


def test_the_kernel_has_such_a_socket() -> None:
    with kernel_events() as events, pytest.raises(BlockingIOError):
        events.recv(65536)
