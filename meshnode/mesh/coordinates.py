"""Where nodes are in the tree: distance between coordinates, and the cache of what we know (spec 03 sections 4 and 6).

Coordinates are a list of NodeAddr from the owner up to the root. Such lists are shared freely and never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

NodeAddr = bytes
Coordinates = list[NodeAddr]

MAX_LENGTH = 128  # longer lists are not kept: they fit no common link, and strangers could fill our memory with them
PATH_SHARE = 8
FRESH_SECS = 2.0
INFINITE = 1 << 62  # the distance between nodes of different trees; larger than any list could give


def common_suffix(a: Coordinates, b: Coordinates) -> int:
    """Number of equal addresses counted from the root end."""
    count = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        count += 1
    return count


def distance(a: Coordinates, b: Coordinates) -> int:
    """Hops along the tree between two owners; INFINITE under different roots. Every node must compute the same."""
    common = common_suffix(a, b)
    return len(a) + len(b) - 2 * common if common else INFINITE


def lowest_common_ancestor(a: Coordinates, b: Coordinates) -> NodeAddr | None:
    """The deepest node both paths to the root share, if there is one."""
    common = common_suffix(a, b)
    return a[len(a) - common] if common else None


@dataclass(slots=True)
class CacheEntry:
    """Times are monotonic seconds; `path_mtu` is None unless a lookup told it.

    `vouched_at` is when the owner last said itself that it is there, minus infinity for what others claim.
    """

    coordinates: Coordinates
    created: float
    last_used: float
    expires: float
    path_mtu: int | None = None
    vouched_at: float = float("-inf")


class CoordinateCache:
    """What we know about where destinations are; at most `capacity` entries, each valid for `ttl` seconds after use.

    Paths are counted as well: together they hold at most `PATH_SHARE` addresses for each entry there is room for.

    Entries are kept in order of use. As every use also renews the expiry, the entry used longest ago is the first to
    expire, so evicting it is right both when something has expired and when nothing has.
    """

    __slots__ = ("_entries", "_own", "addresses", "capacity", "ttl")

    def __init__(self, own: NodeAddr, capacity: int, ttl: float) -> None:
        self._own = own
        self.capacity = capacity
        self.ttl = ttl
        self._entries: dict[NodeAddr, CacheEntry] = {}
        self.addresses = 0  # in all paths together

    def __contains__(self, owner: NodeAddr) -> bool:
        return owner in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> Iterator[tuple[NodeAddr, CacheEntry]]:
        return iter(self._entries.items())

    def insert(
        self,
        owner: NodeAddr,
        coordinates: Coordinates,
        now: float,
        path_mtu: int | None = None,
        vouched: bool = False,
    ) -> bool:
        """Remember where `owner` is. Refused, with False, unless the list starts with `owner` and it is not ourselves.

        Unless `vouched` for by the owner's signature or session, coordinates arrive unauthenticated: this keeps out the
        list a sender puts in place of one it does not know, and lists deeper than any tree that ordinary links can
        carry.
        """
        if owner == self._own or not 0 < len(coordinates) <= MAX_LENGTH or coordinates[0] != owner:
            return False
        entry = self._entries.pop(owner, None)
        self.addresses += len(coordinates) - (0 if entry is None else len(entry.coordinates))
        if entry is None:
            self._make_room()
            entry = CacheEntry(coordinates, created=now, last_used=now, expires=now + self.ttl)
        elif entry.coordinates != coordinates:
            entry.coordinates = coordinates
            entry.vouched_at = float("-inf")
        entry.last_used, entry.expires = now, now + self.ttl
        if path_mtu is not None:
            entry.path_mtu = path_mtu
        if vouched:
            entry.vouched_at = now
        self._entries[owner] = entry
        return True

    def get(self, owner: NodeAddr, now: float) -> Coordinates | None:
        """Valid coordinates of `owner`, without counting as use."""
        entry = self._entries.get(owner)
        return None if entry is None or now > entry.expires else entry.coordinates

    def peek(self, owner: NodeAddr) -> Coordinates | None:
        """Coordinates of `owner`, be they expired or not, without counting as use."""
        entry = self._entries.get(owner)
        return None if entry is None else entry.coordinates

    def get_and_touch(self, owner: NodeAddr, now: float) -> Coordinates | None:
        """Valid coordinates of `owner`; being used keeps them valid. For the routing decision only."""
        entry = self._entries.pop(owner, None)
        if entry is None:
            return None
        if now > entry.expires:
            self.addresses -= len(entry.coordinates)
            return None
        entry.last_used, entry.expires = now, now + self.ttl
        self._entries[owner] = entry
        return entry.coordinates

    def distrust(self, owner: NodeAddr, now: float) -> None:
        """Somebody contradicts what we know of `owner`: forget it, unless that is the owner's own recent word."""
        entry = self._entries.get(owner)
        if entry is not None and now - entry.vouched_at > FRESH_SECS:
            self.remove(owner)

    def remove(self, owner: NodeAddr) -> None:
        entry = self._entries.pop(owner, None)
        if entry is not None:
            self.addresses -= len(entry.coordinates)

    def drop_through(self, node: NodeAddr) -> None:
        """Drop entries whose path to the root contains `node`."""
        self._drop(lambda coordinates: node in coordinates)

    def drop_foreign(self, root: NodeAddr) -> None:
        """Drop entries whose root is not `root`."""
        self._drop(lambda coordinates: coordinates[-1] != root)

    def _drop(self, doomed: Callable[[Coordinates], bool]) -> None:
        self._entries = {owner: e for owner, e in self._entries.items() if not doomed(e.coordinates)}
        self.addresses = sum(len(entry.coordinates) for entry in self._entries.values())

    def _make_room(self) -> None:
        most = self.capacity * PATH_SHARE
        while self._entries and (len(self._entries) >= self.capacity or self.addresses > most):
            self.remove(next(iter(self._entries)))
