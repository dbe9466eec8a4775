"""What passing traffic tells about where nodes are, as far as it is to be believed (spec 03 section 6)."""

from __future__ import annotations

from meshnode.mesh.bloom import member_mask
from meshnode.mesh.coordinates import CoordinateCache, Coordinates, NodeAddr
from meshnode.mesh.decisions import Decisions
from meshnode.mesh.neighbour import Neighbours, Refusals
from meshnode.mesh.warming import FLAG_COORDINATES, Verdict, examine

DATAGRAM_HEADER = 35  # as counted: without the link message type byte


class Hints:
    """Takes unauthenticated coordinates into the cache. Counts what carries none although it says so."""

    __slots__ = ("_cache", "_decisions", "_me", "_neighbours", "_refused", "malformed_bytes", "malformed_packets")

    def __init__(
        self,
        me: NodeAddr,
        neighbours: Neighbours,
        cache: CoordinateCache,
        decisions: Decisions,
        refused: Refusals,
    ) -> None:
        self._me = me
        self._neighbours = neighbours
        self._cache = cache
        self._decisions = decisions
        self._refused = refused
        self.malformed_packets = self.malformed_bytes = 0

    def warm(
        self, payload: bytes, offset: int, source: NodeAddr, destination: NodeAddr, now: float, peer: NodeAddr = b""
    ) -> bool:
        """Learn coordinates from the session message at `offset` of `payload`, passing through or for us.

        `peer` is who handed it over. False means: drop this datagram, it would harm a node further on (spec 03 section
        6.3).
        """
        if len(payload) >= offset + 4 and not payload[offset] and not payload[offset + 1] & FLAG_COORDINATES:
            return True
        verdict, source_path, destination_path = examine(payload, offset)
        if verdict is Verdict.CARRIES:
            if destination != self._me:
                self._learn(source, source_path, peer, now)
                self._learn(destination, destination_path, peer, now)
            elif payload[offset] and self._decisions.is_stranded(source, now):  # what we know of it is no use, if any
                self._learn(source, source_path, peer, now)
        elif verdict is not Verdict.PLAIN:
            self.malformed_packets += 1
            self.malformed_bytes += DATAGRAM_HEADER + len(payload) - offset
        return verdict is not Verdict.POISONOUS

    def _learn(self, owner: NodeAddr, coordinates: Coordinates, peer: NodeAddr, now: float) -> None:
        """Take an unauthenticated hint, unless its bringer has taught us too many places lately."""
        neighbour = self._neighbours.get(peer)
        known = neighbour is None or owner in self._cache
        if not (known or (neighbour is not None and neighbour.budget.places.allow(now))):
            self._refused.places += 1
        elif neighbour is not None and self._contradicts_filters(owner, coordinates, now):
            self._refused.false_places += 1
        else:
            self._cache.insert(owner, coordinates, now)

    def _contradicts_filters(self, owner: NodeAddr, coordinates: Coordinates, now: float) -> bool:
        """Whether a hint would lead to a peer that does not claim to reach `owner`, away from one that does.

        Anybody can send in another's name and say that it lives behind himself. What peers announce about who is
        behind them contradicts that, as long as they agree with the place we know.
        """
        present = self._cache.get(owner, now)
        if present is None or present == coordinates or not coordinates or owner in self._neighbours:
            return False
        before, after = (self._decisions.hop_by(path) for path in (present, coordinates))
        return before != after and self._claims(before, owner) and not self._claims(after, owner)

    def _claims(self, hop: NodeAddr | None, owner: NodeAddr) -> bool:
        neighbour = None if hop is None else self._neighbours.get(hop)
        return neighbour is not None and neighbour.claims(member_mask(owner))
