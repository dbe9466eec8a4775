"""Exchanging TreeAnnounces with the peers (spec 03 sections 3.3 and 3.10)."""

from __future__ import annotations

from collections.abc import Callable

from meshnode.mesh.coordinates import MAX_LENGTH, NodeAddr
from meshnode.mesh.neighbour import Neighbour, Neighbours, Position, Refusals
from meshnode.mesh.settings import TreeSettings
from meshnode.mesh.tree import Tree
from meshnode.wire.errors import WireError
from meshnode.wire.tree import TreeAnnounce, longest_path

FRAME_OVERHEAD = 36
ORDINARY_MTU = 1280


class AnnounceExchange:
    """Checks and stores what peers announce, and announces our own position at a limited rate per peer.

    A message is made from the declaration current when it leaves, so that changes in quick succession cost one message.
    """

    __slots__ = ("_interval", "_neighbours", "_refused", "_send", "_tree", "counters")

    def __init__(
        self,
        tree: Tree,
        settings: TreeSettings,
        neighbours: Neighbours,
        send: Callable[[NodeAddr, bytes], None],
        refused: Refusals | None = None,
    ) -> None:
        self._refused = refused or Refusals()
        self._tree = tree
        self._interval = settings.announce_min_interval_ms / 1000
        self._neighbours = neighbours
        self._send = send
        self.counters = tree.counters

    def receive(self, peer: NodeAddr, body: bytes, now: float, wall: float) -> Position | None:
        """Take a TreeAnnounce (after the type byte): the peer's new position, or None when it was not accepted.

        Beyond what the specification demands, a path must not name a node twice, which no honest one does, nor be so
        deep that we could announce our own place below it neither on ordinary links nor on any of ours (section 3.12).
        A peer that announces such a path is no longer where it was before, and has no position until it tells another.
        """
        counters = self.counters
        counters.received += 1
        try:
            message = TreeAnnounce.parse(body)
        except WireError:
            counters.decode_error += 1
            return None
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            counters.unknown_peer += 1
            return None
        if message.ancestry[0].node_addr != peer:
            counters.addr_mismatch += 1
            return None
        if not neighbour.budget.announces.allow(now):
            self._refused.announces += 1
            return None
        if not neighbour.identity.verify(message.signing_bytes(), message.signature):
            counters.sig_failed += 1
            return None
        if message.ancestry_error() is not None:
            counters.ancestry_invalid += 1
            return None
        if message.sequence <= neighbour.sequence_heard:
            counters.stale += 1
            return None
        neighbour.sequence_heard = message.sequence
        if not self._believable(message):
            counters.ancestry_invalid += 1
            neighbour.position = None
            return None
        return self._store(neighbour, message, wall)

    def _store(self, neighbour: Neighbour, message: TreeAnnounce, wall: float) -> Position:
        self.counters.accepted += 1
        position = Position(
            sequence=message.sequence,
            timestamp=message.timestamp,
            parent=message.parent,
            ancestry=message.ancestry,
            coordinates=[entry.node_addr for entry in message.ancestry],
        )
        neighbour.take_position(position, wall)
        return position

    def send(self, neighbour: Neighbour, now: float) -> None:
        """Announce our position to one peer now, or as soon as the interval since the last announce has passed.

        That we lost a root is told at once: while that waits, others hang themselves below a path that is no more.
        """
        outgoing = neighbour.announce
        if now < self._ready_at(neighbour):
            outgoing.pending = True
            self.counters.rate_limited += 1
            return
        message = self._tree.announce().encode()
        outgoing.pending = False
        if len(message) + FRAME_OVERHEAD > neighbour.link_mtu:
            self.counters.send_failed += 1  # too deep for this link; the next change of position tries again
            return
        self._send(neighbour.address, message)
        self.counters.sent += 1
        outgoing.sent_at = now
        neighbour.root_sent = self._tree.root
        if self._tree.sequence != neighbour.sequence_sent:
            neighbour.sequence_sent = self._tree.sequence
            outgoing.repeats = 0
        if not self._tree.is_root and neighbour.address == self._tree.parent:
            neighbour.filter_announce.pending = True  # must be computed after our parent knows us as a child

    def send_all(self, now: float) -> None:
        for neighbour in self._neighbours.values():
            self.send(neighbour, now)

    def mark_all(self) -> None:
        """Announce to everybody with the next flush."""
        for neighbour in self._neighbours.values():
            neighbour.announce.pending = True

    def flush(self, now: float) -> None:
        """Send the pending announces whose interval has passed."""
        for neighbour in self._neighbours.values():
            if neighbour.announce.pending and now >= self._ready_at(neighbour):
                self.send(neighbour, now)

    def next_deadline(self) -> float | None:
        waiting = [self._ready_at(n) for n in self._neighbours.values() if n.announce.pending]
        return min(waiting) if waiting else None

    def _ready_at(self, neighbour: Neighbour) -> float:
        """When the next announce may leave: bad news need not wait, and comes at most once for each good one."""
        bad_news = neighbour.root_sent is not None and self._tree.root > neighbour.root_sent
        return 0.0 if bad_news else neighbour.announce.ready_at(self._interval)

    def _believable(self, message: TreeAnnounce) -> bool:
        path = message.ancestry
        widest = max(ORDINARY_MTU, *(neighbour.link_mtu for neighbour in self._neighbours.values()))
        room = min(longest_path(widest - FRAME_OVERHEAD), MAX_LENGTH)
        return len(path) < room and len({entry.node_addr for entry in path}) == len(path)
