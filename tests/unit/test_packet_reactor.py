"""The reactor of `meshnode`: what is ready reads, by the short way or the usual one, and trouble ends as usual."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.python.failure import Failure

from meshnode.ipv6.tun import TunDevice
from meshnode.packet_reactor import PacketReactor
from meshnode.transports.udp import UdpTransport
from tests.unit.udp_rig import log_lines


class Pipe:
    """A pipe whose end for reading is a descriptor; `does` is called with it for each read."""

    read_directly = True

    def __init__(self, does: Callable[[Pipe], object] = lambda pipe: None) -> None:
        self.out, self.into = os.pipe()
        os.set_blocking(self.out, False)
        self.does = does
        self.got: list[bytes] = []
        self.lost: list[Failure] = []
        self.prefixes = 0

    def write(self, data: bytes) -> None:
        os.write(self.into, data)

    def fileno(self) -> int:
        return self.out

    def doRead(self) -> None:
        self.got.append(os.read(self.out, 100))
        self.does(self)

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)

    def logPrefix(self) -> str:
        self.prefixes += 1
        return "pipe"

    def hang_up(self) -> None:
        os.close(self.into)


class UsualPipe(Pipe):
    read_directly = False


@pytest.fixture
def reactor() -> Iterator[Any]:
    reactor = PacketReactor()
    yield reactor
    for reader in reactor.removeAll():
        if isinstance(reader, Pipe):
            os.close(reader.out)
        else:
            reader.connectionLost(None)  # its own waker
    reactor._poller.close()


@pytest.mark.parametrize("kind", [Pipe, UsualPipe])
def test_what_is_ready_reads_and_nothing_else(reactor: Any, kind: type[Pipe]) -> None:
    ready, still = kind(), kind()
    for pipe in (ready, still):
        reactor.addReader(pipe)
    ready.write(b"x")
    reactor.doIteration(0)
    reactor.doIteration(0)
    assert (ready.got, still.got) == ([b"x"], [])


def test_only_the_usual_way_prefixes_the_log(reactor: Any) -> None:
    direct, usual = Pipe(), UsualPipe()
    for pipe in (direct, usual):
        reactor.addReader(pipe)
        pipe.write(b"x")
    reactor.doIteration(0)
    assert (direct.prefixes, usual.prefixes) == (0, 1)


@pytest.mark.parametrize("kind", [Pipe, UsualPipe])
def test_one_that_was_removed_reads_no_more_even_when_it_was_ready_already(reactor: Any, kind: type[Pipe]) -> None:
    pipes = [kind(lambda self: [reactor.removeReader(pipe) for pipe in pipes if pipe is not self]) for _ in range(2)]
    for pipe in pipes:
        reactor.addReader(pipe)
        pipe.write(b"x")
    reactor.doIteration(0)
    reactor.doIteration(0)
    assert sorted(len(pipe.got) for pipe in pipes) == [0, 1]


def test_one_without_a_number_can_be_removed(reactor: Any) -> None:
    gone, other = Pipe(), Pipe()
    for pipe in (gone, other):
        reactor.addReader(pipe)
    number, gone.out = gone.out, -1
    reactor.removeReader(gone)
    os.close(number)
    other.write(b"x")
    reactor.doIteration(0)
    assert gone not in reactor.getReaders()
    assert other.got == [b"x"]


def test_one_that_raises_is_logged_and_given_up(reactor: Any) -> None:
    def fail(pipe: Pipe) -> None:
        raise ValueError("of no use")

    bad, good = Pipe(fail), Pipe()
    for pipe in (bad, good):
        reactor.addReader(pipe)
        pipe.write(b"x")
    with log_lines() as lines:
        reactor.doIteration(0)
    reactor.doIteration(0)
    assert len(bad.lost) == 1
    assert good.got == [b"x"]
    assert any("is given up" in line for line in lines)
    assert bad not in reactor.getReaders()


def test_one_that_leaves_and_then_raises_is_only_logged(reactor: Any) -> None:
    def leave(pipe: Pipe) -> None:
        reactor.removeReader(pipe)
        raise ValueError("on its way out")

    bad = Pipe(leave)
    reactor.addReader(bad)
    bad.write(b"x")
    with log_lines() as lines:
        reactor.doIteration(0)
    assert any("is given up" in line for line in lines)
    assert not bad.lost


def test_a_hang_up_goes_the_usual_way(reactor: Any) -> None:
    pipe = Pipe()
    reactor.addReader(pipe)
    pipe.hang_up()
    reactor.doIteration(0)
    assert len(pipe.lost) == 1
    assert pipe.got == []
    assert pipe not in reactor.getReaders()


def test_it_waits_no_longer_than_it_is_told(reactor: Any) -> None:
    reactor.callLater(0, reactor.callLater, 0, lambda: done.append(True))
    done: list[bool] = []
    for _ in range(3):
        reactor.runUntilCurrent()
        reactor.doIteration(0)
    assert done == [True]


def test_packets_take_the_short_way() -> None:
    assert TunDevice.read_directly
    assert UdpTransport.read_directly
