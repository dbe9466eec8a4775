"""Running a short command of the system without blocking the reactor."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

MAX_OUTPUT = 1 << 16
"""Bytes kept of what a command prints."""
_OUTPUT_SECONDS = 0.5
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
NOT_RUN = 127
"""Exit status reported for a command that could not be started."""


class Finished(NamedTuple):
    """How a command ended: exit status (negative for a signal) and what it printed."""

    status: int
    output: bytes
    errors: bytes


class Run(Protocol):
    """Runs a command given as its argument list and never fails: trouble is a status other than 0."""

    def __call__(self, arguments: Sequence[str], *, text: str = "") -> Awaitable[Finished]:
        """Run `arguments`; `text` is what the command reads."""


def command_runner(reactor: Any, timeout: float = 15.0) -> Run:
    """Return a `Run` that starts processes on `reactor` and kills them after `timeout` seconds."""

    async def run(arguments: Sequence[str], *, text: str = "") -> Finished:
        command = _Command(reactor, timeout, text.encode())
        try:
            reactor.spawnProcess(command, arguments[0], list(arguments), env=_ENVIRONMENT)
        except OSError as error:
            return Finished(NOT_RUN, b"", str(error).encode())
        return await command.finished

    return run


class _Command(ProcessProtocol):
    """Collects bounded output and the exit status."""

    def __init__(self, reactor: Any, timeout: float, text: bytes) -> None:
        self.finished: Deferred[Finished] = Deferred()
        self._reactor = reactor
        self._timeout = timeout
        self._text = text
        self._collected = {1: bytearray(), 2: bytearray()}
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:  # noqa: N802
        """Start the clock, and give the command what it reads."""
        self._timer = self._reactor.callLater(self._timeout, self._kill)
        if self._text:
            self._process.write(self._text)
        self._process.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803
        """Keep what fits."""
        kept = self._collected[childFD]
        kept += data[: MAX_OUTPUT - len(kept)]

    def processExited(self, reason: Failure) -> None:  # noqa: N802
        """Wait a little for the rest of the output: a daemon started by the command may hold the pipes for good."""
        self._stop_timer()
        self._timer = self._reactor.callLater(_OUTPUT_SECONDS, self._finish, reason)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """Report the end: status and output are complete."""
        self._finish(reason)

    @property
    def _process(self) -> IProcessTransport:
        transport = self.transport
        assert transport is not None
        return transport

    def _finish(self, reason: Failure) -> None:
        if self.finished.called:
            return
        self._stop_timer()
        self._process.loseConnection()
        value: Any = reason.value
        status = value.exitCode if value.exitCode is not None else -(value.signal or 0)
        self.finished.callback(Finished(status, bytes(self._collected[1]), bytes(self._collected[2])))

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _kill(self) -> None:
        try:
            self._process.signalProcess("KILL")
        except ProcessExitedAlready:
            return  # its end is being reported
