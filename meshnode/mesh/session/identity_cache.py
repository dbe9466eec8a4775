"""From mesh IPv6 addresses back to public keys (spec 02 section 13).

An address is a truncated hash of a key, so a destination can only be reached while its key is remembered here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from meshnode.identity import PeerIdentity

PREFIX_SIZE = 15


class CachedIdentity(NamedTuple):
    """One entry as operators see it; `last_seen` is on the caller's monotonic clock."""

    identity: PeerIdentity
    last_seen: float


class IdentityCache:
    """Least recently used map from the first 15 bytes of a NodeAddr to the identity behind it.

    Every method takes a NodeAddr or its 15-byte prefix (an IPv6 address without the leading fd) alike.
    """

    __slots__ = ("_entries", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = max(capacity, 1)
        self._entries: dict[bytes, CachedIdentity] = {}  # least recently used first

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, address: bytes) -> bool:
        return address[:PREFIX_SIZE] in self._entries

    def insert(self, identity: PeerIdentity, now: float) -> None:
        """Remember `identity`, in place of whoever had the same prefix; the least recently used entry makes room."""
        entries, prefix = self._entries, identity.node_addr[:PREFIX_SIZE]
        entries.pop(prefix, None)
        if len(entries) >= self.capacity:
            del entries[next(iter(entries))]
        entries[prefix] = CachedIdentity(identity, now)

    def lookup(self, address: bytes, now: float) -> PeerIdentity | None:
        """The identity behind `address`, which thereby counts as used."""
        prefix = address[:PREFIX_SIZE]
        entry = self._entries.pop(prefix, None)
        if entry is None:
            return None
        self._entries[prefix] = CachedIdentity(entry.identity, now)
        return entry.identity

    def peek(self, address: bytes) -> PeerIdentity | None:
        """As `lookup`, without counting as use."""
        entry = self._entries.get(address[:PREFIX_SIZE])
        return None if entry is None else entry.identity

    def peek_exact(self, node_addr: bytes) -> PeerIdentity | None:
        """The identity whose whole NodeAddr this is; addresses that share 15 bytes are not confused."""
        identity = self.peek(node_addr)
        return identity if identity is not None and identity.node_addr == node_addr else None

    def entries(self) -> Iterator[CachedIdentity]:
        """All entries, least recently used first."""
        return iter(list(self._entries.values()))
