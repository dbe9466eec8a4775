"""One connection of the control socket: a line in, a line out (spec 06 sections 1.1 and 1.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from itertools import chain
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .commands import CommandError, Stream
from .encoding import Answer, failure, success
from .request import RequestError, parse_request

LINE_LIMIT = 4096
READ_SECS = 5.0
EXECUTE_SECS = 5.0
WRITE_SECS = 5.0
LINGER_SECS = 1.0
_PIECES_AT_ONCE = 2  # longer answers come in turns, between which packets are carried
ALIVE_SECS = 15.0
"""How often a stream without news sends an empty line."""

_log = Logger(namespace="meshnode")


class Answers(Protocol):
    """Who knows the answers."""

    def answer(self, command: str, params: Any) -> Answer | Stream | Deferred[Answer]:
        """Carry out a command. Raises or fails with `CommandError`."""


class Timer(Protocol):
    """The part of Twisted's delayed call that is used."""

    def cancel(self) -> None: ...
    def active(self) -> bool: ...


CallLater = Callable[[float, Callable[[], None]], Timer]


class Phase(Enum):
    """How far an exchange has come; it only moves forward."""

    READING = auto()
    WORKING = auto()
    ANSWERING = auto()
    CLOSING = auto()


@implementer(IHalfCloseableProtocol, IPullProducer)
class Exchange(StreamProtocol):
    """Reads one request, answers it once, and closes.

    A client may shut its writing side before or after the answer, or not at all. `closed(self)` is called at the end.
    """

    def __init__(self, answers: Answers, call_later: CallLater, closed: Callable[[Exchange], None]) -> None:
        self._answers = answers
        self._call_later = call_later
        self._closed = closed
        self._buffer = bytearray()
        self._timer: Timer | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._stream: Stream | None = None
        self._is_waiting = False
        self._client_done = False
        self.phase = Phase.READING

    transport: Any

    def hurry(self) -> None:
        """Read what has come and write what there is room for; the reactor does the rest in its turns.

        Reading, each piece of the answer and closing take a turn each, and a node under load takes milliseconds for
        one. To be called once, when the connection has just been made.
        """
        transport = self.transport
        if transport.doRead() is not None:
            return  # the reactor finds the same, and knows what to do about it
        lost = None
        for _ in range(_PIECES_AT_ONCE):
            if self.phase is not Phase.ANSWERING or self._is_waiting or lost is not None:
                break
            lost = transport.doWrite()
        if self.phase is Phase.CLOSING and lost is None and transport.connected:
            lost = transport.doWrite()
        if lost is not None and transport.connected:
            transport.connectionLost(Failure(lost))  # type: ignore[no-untyped-call]

    # -- the request

    def connectionMade(self) -> None:  # noqa: N802
        self._within(READ_SECS, lambda: self.refuse("read timeout"))

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Collect the line; whatever follows it is thrown away."""
        if self.phase is not Phase.READING:
            return
        self._buffer += data
        end = self._buffer.find(b"\n", 0, LINE_LIMIT)
        if end >= 0:
            self._execute(bytes(self._buffer[: end + 1]))
        elif len(self._buffer) > LINE_LIMIT:
            self.refuse("read error: request too large")

    def readConnectionLost(self) -> None:  # noqa: N802
        """The client has said everything: what came without a newline is a line as well."""
        self._client_done = True
        if self.phase is Phase.CLOSING:
            self.transport.loseConnection()
        elif self.phase is Phase.READING and self._buffer:
            self._execute(bytes(self._buffer))
        elif self.phase is Phase.READING:
            self.refuse("empty request")

    def writeConnectionLost(self) -> None:  # noqa: N802
        """Our half is closed, as it was meant to be."""

    def _execute(self, line: bytes) -> None:
        try:
            request = parse_request(line)
        except RequestError as error:
            self.refuse(str(error))
            return
        self.phase = Phase.WORKING
        self._buffer.clear()
        self._within(EXECUTE_SECS, lambda: self.refuse("query timeout"))
        answer: Callable[[str, Any], Any] = self._answers.answer
        result: Deferred[Answer] = maybeDeferred(answer, request.command, request.params)
        result.addCallbacks(self._answer, self._failed, errbackArgs=(request.command,))

    def _answer(self, data: Answer | Stream) -> None:
        if not isinstance(data, Stream):
            self._send(success(data))
        elif self.phase is Phase.WORKING:
            self._stream = data
            data.wake = self._wake
            self._send(chain(success(data.head), data.lines()))
        else:
            data.close()  # the client left while it was made

    def _failed(self, reason: Failure, command: str) -> None:
        if isinstance(reason.value, CommandError):
            self.refuse(str(reason.value))
            return
        _log.failure("the control command {command} failed", failure=reason, command=command)
        self.refuse(f"internal error: {type(reason.value).__name__}")

    # -- the answer

    def refuse(self, message: str) -> None:
        """Answer with an error, unless an answer is under way."""
        self._send(failure(message))

    def give_up(self, message: str) -> None:
        """Make an end at once: with an error while nothing has been asked, else by hanging up."""
        if self.phase is Phase.READING:
            self._client_done = True
            self.refuse(message)
        else:
            self.transport.abortConnection()

    def _send(self, pieces: Iterator[bytes]) -> None:
        if self.phase in (Phase.READING, Phase.WORKING):
            self.phase = Phase.ANSWERING
            self._buffer.clear()
            self._pieces = pieces
            self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:  # noqa: N802
        """Write the next piece of the answer; called whenever the one before has left."""
        piece: bytes | None = None
        with _log.failuresHandled("a control answer could not be completed") as making:
            piece = next(self._pieces, None)
        if making.failed:
            self.transport.abortConnection()
        elif piece is None:
            self._finish()
        elif not piece:
            self._is_waiting = True
            self._within(ALIVE_SECS, self._say_nothing)
        else:
            self._within(WRITE_SECS, self.transport.abortConnection)
            self.transport.write(piece)

    def _wake(self) -> None:
        """The stream has something again."""
        if self._is_waiting and self.phase is Phase.ANSWERING:
            self._is_waiting = False
            self.resumeProducing()

    def _say_nothing(self) -> None:
        """An empty line now and then finds out whether anybody is still there."""
        self._is_waiting = False
        self._within(WRITE_SECS, self.transport.abortConnection)
        self.transport.write(b"\n")

    def stopProducing(self) -> None:  # noqa: N802
        self._pieces = iter(())

    def _finish(self) -> None:
        """Close. A client that may still be sending gets a moment to read: a plain close could cost it the answer."""
        self.phase = Phase.CLOSING
        self.transport.unregisterProducer()
        if self._client_done:
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
            self._within(LINGER_SECS, self.transport.abortConnection)

    # -- the end

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        self.phase = Phase.CLOSING
        self._stop_timer()
        if self._stream is not None:
            self._stream.close()
        self._closed(self)

    def _within(self, seconds: float, otherwise: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._call_later(seconds, otherwise)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
