"""Which accepted stream gives way when there is no room for another (spec 04 section 4.2, the cap on accepted ones).

Whoever opens streams and says nothing of worth may fill every place; a newcomer must find one nevertheless. So a stream
is only a visitor until a link is carried by it, and when room is needed the source with the most visitors loses its
oldest: a crowd from one address displaces itself.
"""

from __future__ import annotations

from collections.abc import Callable

from meshnode.mesh.link.budget import source_of


class Visitors:
    """Accepted streams by address that no link uses yet as far as known, in the order in which each source's came."""

    def __init__(self) -> None:
        self._by_source: dict[bytes, dict[str, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_source.values()))

    def add(self, address: str) -> None:
        """A stream from `address` was accepted."""
        self._by_source.setdefault(source_of((0, address)), {})[address] = None

    def discard(self, address: str) -> None:
        """The stream from `address` is gone, or a visitor no longer."""
        source = source_of((0, address))
        of_source = self._by_source.get(source)
        if of_source is not None:
            of_source.pop(address, None)
            if not of_source:
                del self._by_source[source]

    def give_way(self, carries_link: Callable[[str], bool]) -> str | None:
        """Take out the visitor that has to go; None when there are only links.

        Those that `carries_link` turns out to be true of are visitors no longer.
        """
        while self._by_source:
            crowd = max(self._by_source.values(), key=len)
            address = next(iter(crowd))
            self.discard(address)
            if not carries_link(address):
                return address
        return None
