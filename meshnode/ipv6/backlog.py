"""Packets that the host sends faster than they can be sealed: a queue for each flow, served in turn.

In one queue for all, an echo or a keystroke waits behind everything that a bulk transfer has in it. Here a flow that
has nothing waiting goes first, and those that do take turns (as in RFC 8290, with packets for bytes). The whole is
bounded: beyond the limit the longest queue loses its oldest packets, which is what tells a sender soonest, and before
that a flow that understands congestion marks gets one.
"""

from __future__ import annotations

from typing import Final

from meshnode.ipv6.counters import TunCounters

LIMIT: Final = 1000
"""Most packets that wait; some 11 ms of sealing."""
_FIRST_TURN: Final = 8
_TURN: Final = 64
"""Packets of one flow in a row: as many as leave in one system call and arrive as one run."""
_MARKED_FROM: Final = 128
_FLOW: Final = slice(24, 44)
"""Destination and ports; of an ICMPv6 echo the checksum instead, which makes each a flow of its own."""


class Backlog:
    """What waits to be sealed, by flow; what is dropped and marked is counted in `counters`."""

    __slots__ = ("_new", "_old", "counters", "waiting")

    def __init__(self, counters: TunCounters) -> None:
        self.counters = counters
        self._new: dict[bytes, list[bytes]] = {}
        self._old: dict[bytes, list[bytes]] = {}
        self.waiting = 0

    def add(self, packets: list[bytes]) -> None:
        """Take packets in order; those of one flow stay in order."""
        new, old = self._new, self._old
        for packet in packets:
            flow = packet[_FLOW]
            queue = old.get(flow) or new.get(flow)
            if queue is None:
                new[flow] = [packet]
            else:
                queue.append(packet)
        self.waiting += len(packets)
        while self.waiting > LIMIT:
            self._drop()

    def take(self, most: int) -> list[bytes]:
        """Up to `most` packets to be sealed now: first those of newcomers, then of the other flows in turn."""
        batch: list[bytes] = []
        while len(batch) < most and (self._new or self._old):
            flows, turn = (self._new, _FIRST_TURN) if self._new else (self._old, _TURN)
            flow = next(iter(flows))
            queue = flows.pop(flow)
            served = queue[: min(turn, most - len(batch))]
            if len(queue) > len(served):
                del queue[: len(served)]
                self._old[flow] = queue
                if len(queue) > _MARKED_FROM:
                    self._mark(served)
            batch += served
        self.waiting -= len(batch)
        return batch

    def _mark(self, served: list[bytes]) -> None:
        """Tell the far end of a flow that congestion begins, where its packets say that they carry such marks."""
        first = served[0]
        if len(first) > 1 and first[1] & 0x30:
            served[0] = first[:1] + bytes((first[1] | 0x30,)) + first[2:]
            self.counters.backlog_marked += 1

    def _drop(self) -> None:
        """Drop some of what is too much: from the front of the longest queue, at most half of it.

        Where no queue is long, whole ones are dropped, the oldest first: nobody is to be found guilty among a thousand.
        """
        queue = max((*self._new.values(), *self._old.values()), key=len)
        excess = min(self.waiting - LIMIT, len(queue) // 2)
        if len(queue) > _FIRST_TURN:
            del queue[:excess]
        else:
            excess = 0
            while self.waiting - excess > LIMIT:
                flows = self._old or self._new
                excess += len(flows.pop(next(iter(flows))))
        self.waiting -= excess
        self.counters.backlog_dropped += excess
