"""The hook: one run at a time, at a bounded rate, for a bounded time, whatever the command does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from meshnode.hooks import RUN_SECS, WAITING, HookError, Hooks
from meshnode.node.events import EventHub, PeerMoved, PeerSilent


class Process:
    """A run of the command, which ends when the test says so."""

    def __init__(self, protocol: Any, arguments: list[str], environment: dict[str, str]) -> None:
        self.protocol, self.arguments, self.environment = protocol, arguments, environment
        self.input = b""
        self.killed = False
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.input += data

    def closeStdin(self) -> None: ...

    def loseConnection(self) -> None: ...

    def signalProcess(self, name: str) -> None:
        self.killed = True

    def end(self, status: int = 0, said: bytes = b"") -> None:
        if said:
            self.protocol.errReceived(said)
        reason = ProcessDone(0) if status == 0 else ProcessTerminated(status, None, status << 8)
        self.protocol.processExited(Failure(reason))


class Machine(Clock):
    """A reactor that starts such processes."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []

    def spawnProcess(self, protocol: Any, path: str, arguments: list[str], env: dict[str, str]) -> None:
        self.processes.append(Process(protocol, arguments, env))


class Rig:
    def __init__(self, command: str = "cat -u", kinds: tuple[str, ...] = ()) -> None:
        self.machine = Machine()
        self.hub = EventHub(lambda: 1.0, lambda level, text: None)
        self.complaints: list[str] = []
        self.hooks = Hooks(self.hub, self.machine, self.complaints.append)
        self.hooks.use(command, kinds)

    def happen(self, times: int = 1) -> None:
        for number in range(times):
            self.hub.publish(PeerSilent("npub1x", str(number)))

    def names(self) -> list[str]:
        return [json.loads(process.input)["name"] for process in self.machine.processes]


def test_the_command_gets_the_event_as_a_line_and_its_kind() -> None:
    rig = Rig()
    rig.happen()
    (process,) = rig.machine.processes
    assert process.arguments == ["cat", "-u"]
    assert process.environment["MESHNODE_EVENT"] == "peer_silent"
    assert process.input.endswith(b"\n")
    assert json.loads(process.input)["text"].startswith("peer 0 is silent")


def test_one_runs_at_a_time_and_the_others_wait_in_order() -> None:
    rig = Rig()
    rig.happen(3)
    assert rig.names() == ["0"]
    rig.machine.processes[0].end()
    rig.machine.processes[1].end()
    assert rig.names() == ["0", "1", "2"]


def test_a_storm_of_events_starts_few_and_the_oldest_of_too_many_are_passed_over() -> None:
    rig = Rig()
    for _ in range(1000):
        rig.happen(10)
        rig.machine.advance(0.01)
        rig.machine.processes[-1].end()
    assert len(rig.machine.processes) <= 20 + 5 * 10 + 1
    hook: Any = rig.hub._listeners[0].__self__  # type: ignore[attr-defined]
    assert len(hook._queue) <= WAITING
    assert hook.passed_over > 9000


def test_a_command_that_hangs_is_ended() -> None:
    rig = Rig()
    rig.happen(2)
    rig.machine.advance(RUN_SECS)
    process = rig.machine.processes[0]
    assert process.killed
    process.end(9)
    assert "took more than 10 s" in rig.complaints[0]
    assert rig.names() == ["0", "1"]


def test_a_command_that_fails_is_complained_about_once_a_minute() -> None:
    rig = Rig()
    for _ in range(5):
        rig.happen()
        rig.machine.processes[-1].end(3, b"no such luck\nmore\n")
    assert rig.complaints == ["the hook cat ended with status 3: no such luck"]


def test_only_the_wanted_kinds_are_passed_on() -> None:
    rig = Rig(kinds=("roam",))
    rig.happen()
    rig.hub.publish(PeerMoved("npub1x", "x", "a", "b"))
    assert [process.environment["MESHNODE_EVENT"] for process in rig.machine.processes] == ["roam"]


def test_another_command_takes_its_place_and_a_bad_one_does_not() -> None:
    rig = Rig()
    with pytest.raises(HookError):
        rig.hooks.use("no-such-program-anywhere", ())
    rig.happen()
    rig.hooks.use("true", ())
    assert rig.machine.processes[0].killed
    rig.happen()
    assert [process.arguments[0] for process in rig.machine.processes] == ["cat", "true"]
    rig.hooks.use(None, ())
    rig.happen()
    assert len(rig.machine.processes) == 2


@pytest.mark.parametrize(
    ("command", "kinds", "reason"),
    [
        ("", (), "not a program"),
        ("'", (), "cannot be read"),
        ("/etc", (), "not a program"),
        ("cat", ("x",), "no event"),
    ],
)
def test_a_hook_that_cannot_work_is_refused(command: str, kinds: tuple[str, ...], reason: str) -> None:
    with pytest.raises(HookError, match=reason):
        Rig(command, kinds)
