"""The stream of events on the control socket: the answer to `watch`, which only ends when the client leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from meshnode.node.events import KINDS, EventHub, Record

from .commands import CommandError, Stream
from .encoding import Answer, encode

MOST_WATCHERS = 16
QUEUED = 256
"""Events that wait for one slow client; beyond that the oldest are lost, and the client is told how many."""


class Watchers:
    """Gives every client that watches a stream of its own."""

    def __init__(self, events: EventHub) -> None:
        self._events = events
        self._streams: set[EventStream] = set()

    def watch(self, params: Any) -> EventStream:
        """Begin a stream. `events` (a list of kinds) and `since` (a number) may be given. Raises `CommandError`."""
        if len(self._streams) >= MOST_WATCHERS:
            raise CommandError(f"{MOST_WATCHERS} clients watch already")
        given = params if isinstance(params, dict) else {}
        stream = EventStream(
            self._events, wanted_kinds(given.get("events")), wanted_since(given.get("since")), self._streams
        )
        self._streams.add(stream)
        return stream


class EventStream(Stream):
    """Events as lines of JSON for one client."""

    def __init__(self, events: EventHub, kinds: frozenset[str], since: int | None, others: set[EventStream]) -> None:
        super().__init__()
        self._kinds = kinds
        self._others = others
        self._queue: deque[Record] = deque()
        self._lost = 0
        self.head: Answer = {"events": sorted(kinds), "last_number": events.last_number}
        for record in () if since is None else events.since(since):
            self._take(record)
        self._leave: Callable[[], None] = events.subscribe(self._heard)

    def lines(self) -> Iterator[bytes]:
        """What there is to send; an empty piece when there is nothing at the moment."""
        while True:
            if self._lost:
                lost, self._lost = self._lost, 0
                yield _line({"event": "lost", "count": lost, "text": f"{lost} events were not taken in time"})
            elif self._queue:
                yield _line(self._queue.popleft().as_dict())
            else:
                yield b""

    def close(self) -> None:
        """The client is gone."""
        self._leave()
        self._others.discard(self)

    def _heard(self, record: Record) -> None:
        if self._take(record):
            self.wake()

    def _take(self, record: Record) -> bool:
        if record.event.KIND not in self._kinds:
            return False
        if len(self._queue) >= QUEUED:
            self._queue.popleft()
            self._lost += 1
        self._queue.append(record)
        return True


def _line(row: dict[str, Any]) -> bytes:
    return f"{encode(row)}\n".encode("utf-8", "replace")


def wanted_kinds(wanted: Any) -> frozenset[str]:
    if wanted is None or wanted == []:
        return frozenset(KINDS)
    names = wanted if isinstance(wanted, list) else [wanted]
    for name in names:
        if name not in KINDS:
            raise CommandError(f"unknown event {name!r}; there are {', '.join(KINDS)}")
    return frozenset(names)


def wanted_since(number: Any) -> int | None:
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
        raise CommandError("'since' has to be the number of an event")
    return number
