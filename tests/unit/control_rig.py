"""The control socket without a socket: a stream that takes an answer at its own pace, and answers from a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from meshnode.control.commands import CommandError
from meshnode.control.encoding import Answer
from meshnode.control.exchange import Exchange


class Wire:
    """The far end of one connection. Unless `is_slow`, it takes each piece of an answer as it comes."""

    def __init__(self, *, is_slow: bool = False) -> None:
        self.received = b""
        self.pieces = 0
        self.end: str | None = None
        self.is_slow = is_slow
        self._producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert not streaming
        self._producer = producer
        producer.resumeProducing()
        while not self.is_slow and self._producer is not None:
            self.take()

    def take(self) -> None:
        """Have room for one more piece."""
        self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        self.received += data
        self.pieces += 1

    def loseConnection(self) -> None:
        self._producer = None
        self.end = "closed"

    def loseWriteConnection(self) -> None:
        self.end = "half-closed"

    def abortConnection(self) -> None:
        self._producer = None
        self.end = "aborted"


class TableAnswers:
    """Answers by command; an exception among them is raised."""

    def __init__(self, table: Mapping[str, Answer | Deferred[Answer] | Exception] | None = None) -> None:
        self.table = dict(table or {})
        self.asked: list[tuple[str, Any]] = []

    def answer(self, command: str, params: Any) -> Answer | Deferred[Answer]:
        self.asked.append((command, params))
        found = self.table.get(command, CommandError(f"unknown command: {command}"))
        if isinstance(found, Exception):
            raise found
        return found


class Dialogue:
    """One exchange with its clock and its far end."""

    def __init__(self, answers: TableAnswers | None = None, *, is_slow: bool = False) -> None:
        self.clock = Clock()
        self.wire = Wire(is_slow=is_slow)
        self.answers = answers or TableAnswers()
        self.closed: list[Exchange] = []
        self.exchange = Exchange(self.answers, self.clock.callLater, self.closed.append)
        self.exchange.makeConnection(self.wire)  # type: ignore[no-untyped-call]

    def say(self, data: bytes, *, half_close: bool = False) -> Dialogue:
        if data:
            self.exchange.dataReceived(data)
        if half_close:
            self.exchange.readConnectionLost()
        return self

    @property
    def line(self) -> bytes:
        """The answer so far; checks that it is at most one line."""
        assert self.wire.received.count(b"\n") <= 1
        return self.wire.received
