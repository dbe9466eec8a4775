"""A command of the operator's that is run for events (`meshnode.hooks` in the configuration).

It gets the event as one line of JSON on standard input and its kind in MESHNODE_EVENT. One runs at a time, for a
bounded time, at a bounded rate; events that come faster wait, and the oldest of too many are passed over.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from meshnode.mesh.rate_limit import TokenBucket
from meshnode.node.events import KINDS, EventHub, Record

WAITING = 64
RUN_SECS = 10.0
_BURST, _PER_SECOND = 20, 5.0
_KEPT_OUTPUT = 2048
_COMPLAINT_GAP = 60.0


class HookError(ValueError):
    """The hook cannot be used; the text says why."""


class EventHook:
    """Runs `command` for every event of the wanted kinds (all when there are none).

    `reactor` provides IReactorProcess and IReactorTime; `complain(text)` takes one line for the operator, at most once
    a minute. Raises `HookError` for a command that is no program and for kinds there are not.
    """

    def __init__(self, command: str, kinds: Iterable[str], reactor: Any, complain: Callable[[str], None]) -> None:
        self._arguments = _split(command)
        self._kinds = frozenset(kinds) or frozenset(KINDS)
        for kind in sorted(self._kinds.difference(KINDS)):
            raise HookError(f"there is no event {kind!r}; there are {', '.join(KINDS)}")
        self._reactor = reactor
        self._complain = complain
        self._complained_at = float("-inf")
        self._queue: deque[Record] = deque()
        self._starts = TokenBucket(_BURST, _PER_SECOND, reactor.seconds())
        self._running: _Run | None = None
        self._timer: Any = None
        self._closed = False
        self.passed_over = 0

    def heard(self, record: Record) -> None:
        """Take one event; the command runs for it as soon as it may."""
        if self._closed or record.event.KIND not in self._kinds:
            return
        if len(self._queue) >= WAITING:
            self._queue.popleft()
            self.passed_over += 1
        self._queue.append(record)
        self._serve()

    def close(self) -> None:
        """Start no more, and end what runs."""
        self._closed = True
        self._queue.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._running is not None:
            self._running.kill()

    def _serve(self) -> None:
        waiting_for_time = self._timer is not None and self._timer.active()
        if not self._queue or self._running is not None or waiting_for_time:
            return
        if not self._starts.allow(self._reactor.seconds()):
            self._timer = self._reactor.callLater(1 / _PER_SECOND, self._serve)
            return
        row = self._queue.popleft().as_dict()
        self._running = _Run(self._reactor, json.dumps(row).encode() + b"\n", self._ended)
        environment = {**os.environ, "MESHNODE_EVENT": row["event"]}
        try:
            self._reactor.spawnProcess(self._running, self._arguments[0], self._arguments, env=environment)
        except OSError as error:
            self._ended(f"cannot be started: {error.strerror or error}")

    def _ended(self, trouble: str | None) -> None:
        self._running = None
        now = self._reactor.seconds()
        if trouble is not None and not self._closed and now - self._complained_at >= _COMPLAINT_GAP:
            self._complained_at = now
            self._complain(f"the hook {self._arguments[0]} {trouble}")
        if not self._closed:
            self._serve()


class Hooks:
    """The hook in use; another one may take its place at any time."""

    def __init__(self, events: EventHub, reactor: Any, complain: Callable[[str], None]) -> None:
        self._events = events
        self._reactor = reactor
        self._complain = complain
        self._end: Callable[[], None] = lambda: None

    def use(self, command: str | None, kinds: Iterable[str]) -> None:
        """Run `command` from now on, or nothing. Raises `HookError`; then the one before stays."""
        hook = None if command is None else EventHook(command, kinds, self._reactor, self._complain)
        self.close()
        if hook is not None:
            self._end = self._started(hook)

    def _started(self, hook: EventHook) -> Callable[[], None]:
        unsubscribe = self._events.subscribe(hook.heard)

        def end() -> None:
            unsubscribe()
            hook.close()

        return end

    def close(self) -> None:
        """Run nothing any more."""
        end, self._end = self._end, lambda: None
        end()


def _split(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise HookError(f"the command cannot be read: {error}") from None
    if not arguments or shutil.which(arguments[0]) is None:
        raise HookError(f"{arguments[0] if arguments else command!r} is not a program that can be run")
    return arguments


class _Run(ProcessProtocol):
    """One run of the command."""

    def __init__(self, reactor: Any, line: bytes, ended: Callable[[str | None], None]) -> None:
        self._reactor = reactor
        self._line = line
        self._ended = ended
        self._errors = bytearray()
        self._timer: Any = None
        self._is_late = False

    def connectionMade(self) -> None:  # noqa: N802
        self._timer = self._reactor.callLater(RUN_SECS, self._late)
        process: Any = self.transport
        process.write(self._line)
        process.closeStdin()

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        self._errors += data[: _KEPT_OUTPUT - len(self._errors)]

    def processExited(self, reason: Failure) -> None:  # noqa: N802
        """The command is over, whatever of its offspring still holds the pipes."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        process: Any = self.transport
        process.loseConnection()
        self._ended(self._trouble(reason.value))

    def kill(self) -> None:
        process: Any = self.transport
        try:
            process.signalProcess("KILL")
        except ProcessExitedAlready:
            return

    def _late(self) -> None:
        self._is_late = True
        self.kill()

    def _trouble(self, end: Any) -> str | None:
        if self._is_late:
            return f"took more than {RUN_SECS:.0f} s and was ended"
        if end.exitCode == 0:
            return None
        said = bytes(self._errors).decode("utf-8", "replace").strip().partition("\n")[0]
        how = f"ended with status {end.exitCode}" if end.exitCode is not None else f"died of signal {end.signal}"
        return f"{how}{f': {said}' if said else ''}"
