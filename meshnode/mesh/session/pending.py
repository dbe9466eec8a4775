"""Payloads waiting for a session (spec 02 section 12)."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

MAX_AGE = 15.0


class _Queue(Generic[Item]):
    __slots__ = ("items", "last_added", "since")

    def __init__(self, bound: int, now: float) -> None:
        self.items: deque[Item] = deque(maxlen=bound)
        self.last_added = self.since = now

    def take_all_but_last(self, now: float) -> list[Item]:
        """Give up what waits, except for the item that shows that somebody goes on asking."""
        self.since = now
        return [self.items.popleft() for _ in range(len(self.items) - 1)]


class PendingQueues(Generic[Item]):
    """One bounded queue per destination, a bounded number of destinations, and an age nothing outlives.

    A full queue loses its oldest item; a destination too many loses the item offered. `queues` is for a look whether
    anything waits at all, which every burst takes.
    """

    __slots__ = ("max_age", "max_destinations", "per_destination", "queues")

    def __init__(self, per_destination: int, max_destinations: int, max_age: float = MAX_AGE) -> None:
        self.per_destination = per_destination
        self.max_destinations = max_destinations
        self.max_age = max_age
        self.queues: dict[bytes, _Queue[Item]] = {}

    def __contains__(self, remote: bytes) -> bool:
        return remote in self.queues

    def __len__(self) -> int:
        """Number of destinations something waits for."""
        return len(self.queues)

    @property
    def total(self) -> int:
        """Number of items waiting for anybody."""
        return sum(len(queue.items) for queue in self.queues.values())

    def count(self, remote: bytes) -> int:
        """Number of items waiting for `remote`."""
        queue = self.queues.get(remote)
        return 0 if queue is None else len(queue.items)

    def add(self, remote: bytes, item: Item, now: float) -> bool:
        """Append `item`; False when there are too many destinations already."""
        queue = self.queues.get(remote)
        if queue is None:
            if len(self.queues) >= self.max_destinations:
                return False
            queue = self.queues[remote] = _Queue(self.per_destination, now)
        queue.items.append(item)
        queue.last_added = now
        return True

    def take(self, remote: bytes) -> list[Item]:
        """Remove and return what waits for `remote`, oldest first."""
        queue = self.queues.pop(remote, None)
        return [] if queue is None else list(queue.items)

    def expire(self, now: float) -> list[tuple[bytes, list[Item]]]:
        """Remove and return what waited in vain: whole queues that nothing was added to for `max_age` seconds.

        A sender that never pauses, as `ping` does, has to learn of it, too: of a queue that is being added to, all but
        the last item go every `max_age` seconds.
        """
        old = [remote for remote, queue in self.queues.items() if now - queue.last_added >= self.max_age]
        given_up = [(remote, self.take(remote)) for remote in old]
        for remote, queue in self.queues.items():
            if now - queue.since >= self.max_age and (items := queue.take_all_but_last(now)):
                given_up.append((remote, items))
        return given_up
