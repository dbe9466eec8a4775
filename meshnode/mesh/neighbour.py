"""What the mesh machines know about one direct peer."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshnode.identity import PeerIdentity
from meshnode.mesh.coordinates import Coordinates, NodeAddr
from meshnode.mesh.rate_limit import TokenBucket
from meshnode.wire.tree import AncestryEntry

MAX_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Position:
    """A peer's place in the tree as its latest accepted TreeAnnounce declares it."""

    sequence: int
    timestamp: int
    parent: NodeAddr
    ancestry: list[AncestryEntry]
    coordinates: Coordinates

    @property
    def root(self) -> NodeAddr:
        return self.coordinates[-1]

    @property
    def depth(self) -> int:
        return len(self.coordinates) - 1


@dataclass(frozen=True, slots=True)
class ClockReading:
    """How many seconds a peer's clock is ahead of ours, negative when behind.

    When not `is_exact` it is ahead by so much at least. The mesh does without clocks; an operator may want to know.
    """

    ahead: int
    is_exact: bool


@dataclass(slots=True)
class Outgoing:
    """When something was last sent to a peer, and whether more is waiting for its interval.

    `repeats` counts how often the same was sent again because it may have been lost.
    """

    sent_at: float | None = None
    pending: bool = False
    repeats: int = 0

    def repeat(self, lost_since: float) -> None:
        """Send the same again if it left since `lost_since`, but not for ever."""
        if self.sent_at is not None and self.sent_at >= lost_since and not self.pending and self.repeats < MAX_REPEATS:
            self.repeats += 1
            self.pending = True

    def ready_at(self, interval: float) -> float:
        """The earliest time the next one may leave."""
        return 0.0 if self.sent_at is None else self.sent_at + interval


@dataclass(slots=True)
class Refusals:
    """What peers wanted of us beyond their budgets, and answers to questions we never asked; in messages."""

    announces: int = 0
    filters: int = 0
    requests: int = 0
    unasked_answers: int = 0
    places: int = 0
    false_places: int = 0
    signals: int = 0


class Budget:
    """What one peer may make us do: how much at once, and how much a second in the long run.

    Announces and filters leave an honest peer twice a second at most. `requests` are lookups to relay or answer,
    `places` destinations whose coordinates we had not known, `signals` error signals its datagrams give rise to.
    """

    __slots__ = ("announces", "filters", "places", "requests", "signals")

    def __init__(self) -> None:
        self.announces = TokenBucket(20, 4, 0.0)
        self.filters = TokenBucket(20, 4, 0.0)
        self.requests = TokenBucket(512, 200, 0.0)
        self.places = TokenBucket(1000, 100, 0.0)
        self.signals = TokenBucket(50, 20, 0.0)


@dataclass(slots=True)
class Neighbour:
    """A peer with a live link. `link_mtu` is the largest whole link frame towards it, in bytes, `since` when it came.

    `sequence_heard` is that of its newest announce, also when `position` was not to be believed and is None.
    `filter` holds the nodes reachable through the peer as an integer whose bit i is bit i of the bloom filter,
    `modest_filter` what it was when those of all peers together were last those of a small mesh. Traffic
    avoids a `doubtful` peer where it can, and a detour to a `poor` one may be worth it; what a distrusted one announced
    does not count while there are others. A `black_hole` drops what is led through it: it is for its own traffic alone,
    as far as there are others. One that `withholds` does not tell whom it reaches, and is no parent if others are.
    """

    identity: PeerIdentity
    link_mtu: int
    since: float = 0.0
    position: Position | None = None
    sequence_heard: int = -1
    clock: ClockReading | None = None
    filter: int | None = None
    modest_filter: int = 0
    filter_sequence: int = 0
    filter_received_at: float | None = None
    filter_sent: int | None = None
    sequence_sent: int = 0
    root_sent: NodeAddr | None = None
    doubtful: bool = False
    poor: bool = False
    trusted: bool = True
    black_hole: bool = False
    withholds: bool = False
    announce: Outgoing = field(default_factory=Outgoing)
    filter_announce: Outgoing = field(default_factory=Outgoing)
    budget: Budget = field(default_factory=Budget)

    @property
    def address(self) -> NodeAddr:
        return self.identity.node_addr

    def take_position(self, position: Position, wall: float) -> None:
        """Move to where a new announce puts the peer, and read its clock from the date; `wall` is Unix time.

        The first announce of a link may have been signed any time ago, and dates only a clock that is ahead. One that
        comes after it was signed just now.
        """
        ahead, is_news = position.timestamp - int(wall), self.position is not None
        if is_news or ahead > 0:
            self.clock = ClockReading(ahead, is_news)
        self.position = position

    @property
    def has_announced(self) -> bool:
        """Whether it told us a place, whatever that is worth; before, it may have done no more than answer a dial."""
        return self.sequence_heard >= 0

    def claims(self, mask: int) -> bool:
        """Whether the peer's filter has all bits of a member's mask."""
        return self.filter is not None and self.filter & mask == mask


Neighbours = dict[NodeAddr, Neighbour]
