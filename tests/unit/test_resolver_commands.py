"""Commands of the system: output, status, time limit."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from meshnode.ipv6.commands import NOT_RUN, Finished, command_runner


class FakeProcess:
    """The transport of a process that does nothing by itself."""

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.stdin_open = self.pipes_open = True
        self.exited = False

    def closeStdin(self) -> None:
        self.stdin_open = False

    def loseConnection(self) -> None:
        self.pipes_open = False

    def signalProcess(self, signal: str) -> None:
        if self.exited:
            raise ProcessExitedAlready
        self.signals.append(signal)


class FakeReactor(Clock):
    """A clock that starts fake processes."""

    def __init__(self, trouble: OSError | None = None) -> None:
        super().__init__()
        self.trouble = trouble
        self.process = FakeProcess()

    def spawnProcess(self, protocol: ProcessProtocol, executable: str, args: list[str], env: dict[str, str]) -> None:
        if self.trouble is not None:
            raise self.trouble
        assert (executable, args, env["LC_ALL"]) == ("/bin/thing", ["/bin/thing", "now"], "C")
        self.protocol = protocol
        transport: Any = self.process
        protocol.makeConnection(transport)


def start(reactor: FakeReactor) -> list[Finished]:
    """Start a command and return the list in which its end will appear."""
    ended: list[Finished] = []
    Deferred.fromCoroutine(_run(reactor)).addCallback(ended.append)
    return ended


async def _run(reactor: FakeReactor) -> Finished:
    return await command_runner(reactor, timeout=10)(["/bin/thing", "now"])


def test_status_and_output_are_reported_when_the_process_ends() -> None:
    reactor = FakeReactor()
    ended = start(reactor)
    assert not reactor.process.stdin_open
    reactor.protocol.childDataReceived(1, b"out")
    reactor.protocol.childDataReceived(2, b"err")
    reactor.protocol.processExited(Failure(ProcessTerminated(3)))
    assert ended == []
    reactor.protocol.processEnded(Failure(ProcessTerminated(3)))
    assert ended == [Finished(3, b"out", b"err")]
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("reason", "status"), [(ProcessDone(0), 0), (ProcessTerminated(2), 2), (ProcessTerminated(None, 9), -9)]
)
def test_every_way_to_end_has_a_status(reason: ProcessTerminated, status: int) -> None:
    reactor = FakeReactor()
    ended = start(reactor)
    reactor.protocol.processEnded(Failure(reason))
    assert [result.status for result in ended] == [status]


def test_a_daemon_left_behind_with_the_pipes_does_not_hold_the_result_up() -> None:
    reactor = FakeReactor()
    ended = start(reactor)
    reactor.protocol.processExited(Failure(ProcessDone(0)))
    reactor.advance(0.6)
    assert ended == [Finished(0, b"", b"")]
    assert not reactor.process.pipes_open
    reactor.protocol.processEnded(Failure(ProcessDone(0)))
    assert len(ended) == 1


def test_a_command_that_hangs_is_killed() -> None:
    reactor = FakeReactor()
    start(reactor)
    reactor.advance(10.1)
    assert reactor.process.signals == ["KILL"]


def test_a_command_that_ends_while_it_is_being_killed_is_no_trouble() -> None:
    reactor = FakeReactor()
    ended = start(reactor)
    reactor.process.exited = True
    reactor.advance(10.1)
    reactor.protocol.processEnded(Failure(ProcessDone(0)))
    assert [result.status for result in ended] == [0]


def test_a_command_that_cannot_be_started_has_a_status_too() -> None:
    ended = start(FakeReactor(OSError(12, "Cannot allocate memory")))
    assert [result.status for result in ended] == [NOT_RUN]


def test_endless_output_is_cut() -> None:
    reactor = FakeReactor()
    ended = start(reactor)
    for _ in range(100):
        reactor.protocol.childDataReceived(1, bytes(4096))
    reactor.protocol.processEnded(Failure(ProcessDone(0)))
    assert len(ended[0].output) == 65536
