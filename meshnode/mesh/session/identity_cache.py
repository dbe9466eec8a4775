"""From mesh IPv6 addresses back to public keys (spec 02 section 13).

An address is a truncated hash of a key, so a destination can only be reached while its key is remembered here. Keys
come from strangers as well: from names that somebody looks up, from sessions that somebody opens. What was only heard
of gives way before what was used, and what the operator configured never does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from meshnode.identity import PeerIdentity

PREFIX_SIZE = 15
TOUCH_SECS = 1.0
"""Uses within so many seconds count as one: every burst of packets asks here."""


class CachedIdentity(NamedTuple):
    """One entry as operators see it; `last_seen` is on the caller's monotonic clock."""

    identity: PeerIdentity
    last_seen: float


class IdentityCache:
    """Map from the first 15 bytes of a NodeAddr to the identity behind it; at most `capacity` beside the pinned ones.

    Every method takes a NodeAddr or its 15-byte prefix (an IPv6 address without the leading fd) alike.
    """

    __slots__ = ("_heard", "_pinned", "_used", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = max(capacity, 1)
        self._heard: dict[bytes, CachedIdentity] = {}  # both least recently touched first
        self._used: dict[bytes, CachedIdentity] = {}
        self._pinned: dict[bytes, CachedIdentity] = {}

    def __len__(self) -> int:
        return len(self._heard) + len(self._used) + len(self._pinned)

    def __contains__(self, address: bytes) -> bool:
        return self._find(address[:PREFIX_SIZE]) is not None

    def pin(self, identity: PeerIdentity, now: float) -> None:
        """Remember `identity` for good, whatever the capacity."""
        prefix = identity.node_addr[:PREFIX_SIZE]
        self._heard.pop(prefix, None)
        self._used.pop(prefix, None)
        self._pinned[prefix] = CachedIdentity(identity, now)

    def insert(self, identity: PeerIdentity, now: float) -> None:
        """Remember `identity`, in place of whoever had the same prefix; an entry nobody used makes room."""
        prefix, entry = identity.node_addr[:PREFIX_SIZE], CachedIdentity(identity, now)
        if prefix in self._pinned:
            self._pinned[prefix] = entry
        elif self._used.pop(prefix, None) is not None:
            self._used[prefix] = entry
        else:
            self._heard.pop(prefix, None)
            self._make_room()
            self._heard[prefix] = entry

    def lookup(self, address: bytes, now: float) -> PeerIdentity | None:
        """The identity behind `address`, which thereby counts as used."""
        prefix = address[:PREFIX_SIZE]
        entry = self._used.get(prefix)
        if entry is not None and 0 <= now - entry.last_seen < TOUCH_SECS:
            return entry.identity
        entry = self._find(prefix)
        if entry is None:
            return None
        renewed = CachedIdentity(entry.identity, now)
        if prefix in self._pinned:
            self._pinned[prefix] = renewed
            return entry.identity
        self._heard.pop(prefix, None)
        self._used.pop(prefix, None)
        self._used[prefix] = renewed
        if len(self._used) > max(self.capacity * 3 // 4, 1):
            oldest = next(iter(self._used))
            self._heard[oldest] = self._used.pop(oldest)
        return entry.identity

    def peek(self, address: bytes) -> PeerIdentity | None:
        """As `lookup`, without counting as use."""
        entry = self._find(address[:PREFIX_SIZE])
        return None if entry is None else entry.identity

    def peek_exact(self, node_addr: bytes) -> PeerIdentity | None:
        """The identity whose whole NodeAddr this is; addresses that share 15 bytes are not confused."""
        identity = self.peek(node_addr)
        return identity if identity is not None and identity.node_addr == node_addr else None

    def entries(self) -> Iterator[CachedIdentity]:
        """All entries, least recently touched first."""
        everything = [*self._heard.values(), *self._used.values(), *self._pinned.values()]
        return iter(sorted(everything, key=lambda entry: entry.last_seen))

    def _find(self, prefix: bytes) -> CachedIdentity | None:
        return self._used.get(prefix) or self._pinned.get(prefix) or self._heard.get(prefix)

    def _make_room(self) -> None:
        if len(self._heard) + len(self._used) >= self.capacity:
            table = self._heard or self._used
            del table[next(iter(table))]
