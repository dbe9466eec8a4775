"""Strangers that were answered and have not proved who they are, by the neighbour their Setup came through.

An honest one takes a round trip. So where there are too many, the oldest through the same neighbour, or else through
the one with the most, makes room: a storm shortens its own patience, and memory is bounded whatever is answered.
"""

from __future__ import annotations

HALF_OPEN_PER_LINK, MAX_HALF_OPEN = 1024, 4096
BUSY = 128
"""Half-open sessions through a neighbour from which on we leave it to the initiators to ask again."""


class HalfOpen:
    """Addresses of unproved entries of the session table."""

    __slots__ = ("_by_link", "_link_of")

    def __init__(self) -> None:
        self._by_link: dict[bytes, dict[bytes, None]] = {}  # addresses oldest first
        self._link_of: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._link_of)

    def add(self, address: bytes, link_peer: bytes) -> bytes | None:
        """Note an answer to `address`; returns which other one has to go for it."""
        self.discard(address)
        displaced = self._in_the_way(link_peer)
        if displaced is not None:
            self.discard(displaced)
        self._by_link.setdefault(link_peer, {})[address] = None
        self._link_of[address] = link_peer
        return displaced

    def discard(self, address: bytes) -> None:
        """The entry is proved, or gone, or was never here."""
        link_peer = self._link_of.pop(address, None)
        if link_peer is not None:
            addresses = self._by_link[link_peer]
            del addresses[address]
            if not addresses:
                del self._by_link[link_peer]

    def busy(self, link_peer: bytes) -> bool:
        """Whether so many wait through this neighbour that most will never prove anything."""
        return len(self._by_link.get(link_peer, ())) > BUSY

    def _in_the_way(self, link_peer: bytes) -> bytes | None:
        if len(self._by_link.get(link_peer, ())) < HALF_OPEN_PER_LINK:
            if len(self._link_of) < MAX_HALF_OPEN:
                return None
            link_peer = max(self._by_link, key=lambda link: len(self._by_link[link]))
        return next(iter(self._by_link[link_peer]))
