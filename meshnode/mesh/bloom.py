"""Reachability filters: which nodes lie behind which peer (spec 03 section 5).

A filter is a Python integer whose bit i is bit i of the 8192-bit filter on the wire, so union, containment and
population count are single operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from math import floor, log
from struct import Struct

from meshnode.mesh.coordinates import NodeAddr
from meshnode.mesh.neighbour import Neighbour, Neighbours, Refusals
from meshnode.mesh.settings import BloomSettings
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.errors import WireError

FILTER_BITS = 8192
HASH_COUNT = 5
SIZE_CLASS = 1
FILTER_FRAME_SIZE = 1071
COMMON_CAP = 0.2
"""The false positive rate beyond which peers refuse a filter, unless they are configured otherwise."""

SMALL_MESH = 1000
"""Half of the members that a filter can hold: beside so few, children that claim the rest are not believed."""

LARGE_AFTER_SECS = 3600.0
"""How long a larger mesh must have been there until it is believed, and told as it is however large it gets."""

_SEEDS = Struct("<QQ")


def bit_positions(member: bytes) -> list[int]:
    """The bits that stand for `member`; some may coincide. Every node must compute the same."""
    h1, h2 = _SEEDS.unpack_from(sha256(member).digest())
    return [((h1 + i * h2) & 0xFFFF_FFFF_FFFF_FFFF) % FILTER_BITS for i in range(HASH_COUNT)]


def member_mask(member: bytes) -> int:
    """The filter that holds `member` only."""
    mask = 0
    for position in bit_positions(member):
        mask |= 1 << position
    return mask


def filter_of(members: Iterable[bytes]) -> int:
    result = 0
    for member in members:
        result |= member_mask(member)
    return result


def power(base: float, exponent: int) -> float:
    """base ** exponent by square and multiply from the low bit: the same double on every node."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def false_positive_rate(bits: int, hash_count: int = HASH_COUNT) -> float:
    return power(bits.bit_count() / FILTER_BITS, hash_count)


def estimated_members(bits: int, max_fpr: float = 1.0, hash_count: int = HASH_COUNT) -> float | None:
    """About how many members were put in; None when the filter is full or its false positive rate exceeds the cap."""
    if bits.bit_count() >= FILTER_BITS or false_positive_rate(bits, hash_count) > max_fpr:
        return None
    return -(FILTER_BITS / hash_count) * log(1.0 - bits.bit_count() / FILTER_BITS)


def _is_small(bits: int) -> bool:
    members = estimated_members(bits, COMMON_CAP)
    return members is not None and members < SMALL_MESH


@dataclass(slots=True)
class BloomCounters:
    """Named as published (spec 03 section 13). `non_v1` stays 0: the codec already refuses other sizes."""

    received: int = 0
    decode_error: int = 0
    invalid: int = 0
    non_v1: int = 0
    unknown_peer: int = 0
    stale: int = 0
    fill_exceeded: int = 0
    accepted: int = 0
    sent: int = 0
    debounce_suppressed: int = 0
    send_failed: int = 0


class FilterExchange:
    """Receives the peers' filters, and sends each peer the union of what lies behind the others.

    `is_tree_peer` tells who takes part in that union; `hold_back` tells for whom a TreeAnnounce is waiting, which our
    filter must not overtake (section 5.6). Neighbours are read and written in place.
    """

    __slots__ = (
        "_hold_back",
        "_is_large",
        "_is_tree_peer",
        "_large_since",
        "_me",
        "_neighbours",
        "_own",
        "_refused",
        "_send",
        "_settings",
        "counters",
        "sequence",
    )

    def __init__(
        self,
        own: NodeAddr,
        settings: BloomSettings,
        neighbours: Neighbours,
        is_tree_peer: Callable[[NodeAddr], bool],
        hold_back: Callable[[Neighbour], bool],
        send: Callable[[NodeAddr, bytes], None],
        refused: Refusals | None = None,
    ) -> None:
        self._refused = refused or Refusals()
        self._me = own
        self._own = member_mask(own)
        self._settings = settings
        self._neighbours = neighbours
        self._is_tree_peer = is_tree_peer
        self._hold_back = hold_back
        self._send = send
        self._large_since: float | None = None
        self._is_large = False
        self.counters = BloomCounters()
        self.sequence = 0  # of the last filter sent to anybody

    def receive(self, peer: NodeAddr, body: bytes, now: float) -> bool:
        """Take a FilterAnnounce (after the type byte); True when it was stored.

        A hash count other than the protocol's is refused: a large one would let a nearly full filter pass the cap.
        """
        self.counters.received += 1
        try:
            message = FilterAnnounce.parse(body)
        except WireError:
            self.counters.decode_error += 1
            return False
        if message.hash_count != HASH_COUNT:
            self.counters.invalid += 1
            return False
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            self.counters.unknown_peer += 1
            return False
        if not neighbour.budget.filters.allow(now):
            self._refused.filters += 1
            return False
        return self._store(neighbour, message, now)

    def _store(self, neighbour: Neighbour, message: FilterAnnounce, now: float) -> bool:
        if message.sequence <= neighbour.filter_sequence:
            self.counters.stale += 1
            return False
        bits = int.from_bytes(message.bits, "little")
        if false_positive_rate(bits) > self._settings.max_inbound_fpr:
            self.counters.fill_exceeded += 1
            return False
        neighbour.filter = bits
        neighbour.filter_sequence = message.sequence
        neighbour.filter_received_at = now
        self.counters.accepted += 1
        return True

    def outgoing(self) -> dict[NodeAddr, int]:
        """What we tell each peer: ourselves, and what lies behind our trusted tree peers other than that peer."""
        contributions = self._contributions()
        unions = [self._own]  # of everything up to each contributor; with the rest, all but that one in linear time
        for _, bits in contributions:
            unions.append(unions[-1] | bits)
        result = dict.fromkeys(self._neighbours, unions.pop())
        rest = 0
        for address, bits in reversed(contributions):
            result[address] = unions.pop() | rest
            rest |= bits
        for address, bits in result.items():
            if false_positive_rate(bits) > COMMON_CAP and not self._is_large:
                result[address] = self._without_the_greediest(address, dict(contributions)) or bits
        return result

    def _contributions(self) -> list[tuple[NodeAddr, int]]:
        return [
            (address, neighbour.filter)
            for address, neighbour in self._neighbours.items()
            if neighbour.filter is not None and neighbour.trusted and self._is_tree_peer(address)
        ]

    def _observe(self, now: float) -> None:
        """Remember who claimed what while all of it was little, or since when it has been much and yet credible."""
        contributions, union = self._contributions(), self._own
        for _, bits in contributions:
            union |= bits
        if _is_small(union):
            self._large_since, self._is_large = None, False
            for address, bits in contributions:
                self._neighbours[address].modest_filter = bits
        elif false_positive_rate(union) <= COMMON_CAP:
            self._large_since = now if self._large_since is None else self._large_since
            self._is_large = now - self._large_since >= LARGE_AFTER_SECS

    def _without_the_greediest(self, target: NodeAddr, claims: dict[NodeAddr, int]) -> int | None:
        """What lies behind the others, less what the greediest children claim; None if that is still a large mesh.

        Everybody would refuse the whole, and what came behind us from then on could not be found: a single child that
        claims as much as is believed would hide the newcomers of all others. It stands instead for itself, and for
        what it claimed while all of it was little: it may be no liar, but the parent of one.
        """
        claims.pop(target, None)
        children = [address for address in claims if self._is_child(address)]
        rest = self._own
        for address in children:
            rest |= member_mask(address)
        for address in claims.keys() - children:
            rest |= claims[address]
        if not _is_small(rest):
            return None
        for bits in sorted((claims[address] for address in children), key=int.bit_count):
            if _is_small(rest | bits):
                rest |= bits
        for address in children:
            rest |= claims[address] & self._neighbours[address].modest_filter
        return rest

    def _is_child(self, address: NodeAddr) -> bool:
        position = self._neighbours[address].position
        return position is not None and position.parent == self._me

    def mark_all(self) -> None:
        """Send everybody a fresh filter, changed or not."""
        for neighbour in self._neighbours.values():
            neighbour.filter_announce.pending = True

    def mark_changed(self, excluded: NodeAddr) -> None:
        """Send a fresh filter to the peers, except one, whose filter differs from the last one sent."""
        for address, bits in self.outgoing().items():
            neighbour = self._neighbours[address]
            if address != excluded and neighbour.filter_sent != bits:
                neighbour.filter_announce.pending = True

    def flush(self, now: float) -> None:
        """Send the pending filters whose interval has passed and that no TreeAnnounce must precede."""
        waiting = [n for n in self._neighbours.values() if n.filter_announce.pending and not self._hold_back(n)]
        if not waiting:
            return
        interval = self._settings.update_debounce_ms / 1000
        ready = [n for n in waiting if now >= n.filter_announce.ready_at(interval)]
        self.counters.debounce_suppressed += len(waiting) - len(ready)
        if ready:
            self._observe(now)
            outgoing = self.outgoing()
            for neighbour in ready:
                self._transmit(neighbour, outgoing[neighbour.address], now)

    def next_deadline(self) -> float | None:
        """When the next pending filter may leave; those held back wait for their TreeAnnounce instead."""
        waiting = [n for n in self._neighbours.values() if n.filter_announce.pending and not self._hold_back(n)]
        if not waiting:
            return None
        interval = self._settings.update_debounce_ms / 1000
        return min(neighbour.filter_announce.ready_at(interval) for neighbour in waiting)

    def mesh_size(self) -> int | None:
        """About how many nodes the mesh has; None before the first filter and when the union is too full to tell."""
        filters = [n.filter for n in self._neighbours.values() if n.filter is not None]
        if not filters:
            return None
        union = self._own
        for bits in filters:
            union |= bits
        members = estimated_members(union, self._settings.max_inbound_fpr)
        return None if members is None else floor(members + 0.5)

    def _transmit(self, neighbour: Neighbour, bits: int, now: float) -> None:
        self.sequence += 1
        neighbour.filter_announce.pending = False
        if neighbour.link_mtu < FILTER_FRAME_SIZE:
            self.counters.send_failed += 1
            return
        content = bits.to_bytes(FILTER_BITS // 8, "little")
        self._send(neighbour.address, FilterAnnounce(self.sequence, HASH_COUNT, SIZE_CLASS, content).encode())
        self.counters.sent += 1
        neighbour.filter_announce.sent_at = now
        if bits != neighbour.filter_sent:
            neighbour.filter_sent = bits
            neighbour.filter_announce.repeats = 0
