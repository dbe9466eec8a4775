"""Answers that take an inspection of the machine: made in a thread, shared by all who ask within a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from .encoding import Answer

FRESH_SECS = 5.0

InThread: TypeAlias = Callable[[Callable[[], Answer]], Deferred[Answer]]
"""Calls a function that may block where it holds up nobody."""


class Inspection:
    """Runs `inspect` when its last result is older than `FRESH_SECS`, once for everybody who waits."""

    def __init__(self, inspect: Callable[[], Answer], in_thread: InThread, seconds: Callable[[], float]) -> None:
        self._inspect = inspect
        self._in_thread = in_thread
        self._seconds = seconds
        self._latest: Answer = {}
        self._fresh_until = float("-inf")
        self._waiting: list[Deferred[Answer]] = []

    def show(self, params: Any) -> Deferred[Answer]:
        """The result, which is a few seconds old at most."""
        if self._seconds() < self._fresh_until:
            return succeed(self._latest)
        waiter: Deferred[Answer] = Deferred()
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            self._in_thread(self._inspect).addCallbacks(self._done, self._failed)
        return waiter

    def _done(self, answer: Answer) -> None:
        self._latest, self._fresh_until = answer, self._seconds() + FRESH_SECS
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(answer)

    def _failed(self, reason: Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(reason)
