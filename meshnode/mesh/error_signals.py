"""Telling the source of a datagram that it could not be forwarded (spec 03 section 10.2)."""

from __future__ import annotations

from meshnode.mesh.coordinates import CoordinateCache, NodeAddr
from meshnode.mesh.neighbour import Neighbours, Refusals
from meshnode.mesh.rate_limit import IntervalLimiter
from meshnode.mesh.warming import FLAG_UNENCRYPTED
from meshnode.wire.signals import CoordinatesRequired, MtuExceeded, PathBroken

SIGNAL_INTERVAL = 0.1
SIGNAL_MEMORY = 10.0


class ErrorSignals:
    """Makes the payloads of signals, as many as are due."""

    __slots__ = ("_cache", "_intervals", "_me", "_neighbours", "_refused")

    def __init__(self, me: NodeAddr, neighbours: Neighbours, cache: CoordinateCache, refused: Refusals) -> None:
        self._me = me
        self._neighbours = neighbours
        self._cache = cache
        self._refused = refused
        self._intervals: IntervalLimiter[tuple[NodeAddr, NodeAddr]] = IntervalLimiter(SIGNAL_INTERVAL, SIGNAL_MEMORY)

    def routing_error(
        self,
        destination: NodeAddr,
        payload: bytes,
        offset: int,
        now: float,
        source: NodeAddr = b"",
        peer: NodeAddr = b"",
    ) -> bytes | None:
        """The signal for a transit datagram without next hop; None when none is due.

        `payload` at `offset` is the session message of `source`, handed over by `peer`, that could not be forwarded;
        signals are not answered.
        """
        if not self._is_due(destination, payload, offset, now, source, peer):
            return None
        coordinates = self._cache.get(destination, now)
        if coordinates is None:
            return CoordinatesRequired(destination, self._me).encode()
        return PathBroken(destination, self._me, coordinates).encode()

    def mtu_error(
        self,
        destination: NodeAddr,
        payload: bytes,
        offset: int,
        mtu: int,
        now: float,
        source: NodeAddr = b"",
        peer: NodeAddr = b"",
    ) -> bytes | None:
        """The signal for a transit datagram that the outgoing transport refused as larger than `mtu`; None as above."""
        if not self._is_due(destination, payload, offset, now, source, peer):
            return None
        return MtuExceeded(destination, self._me, min(mtu, 65535)).encode()

    def _is_due(
        self, destination: NodeAddr, payload: bytes, offset: int, now: float, source: NodeAddr, peer: NodeAddr
    ) -> bool:
        """At most one signal per interval for a source and a destination, and only so many for one peer in all.

        The specification's limit per destination alone would let anybody use up the signals others need.
        """
        if len(payload) >= offset + 2 and not payload[offset] & 0x0F and payload[offset + 1] & FLAG_UNENCRYPTED:
            return False
        if not self._intervals.allow((source, destination), now):
            return False
        neighbour = self._neighbours.get(peer)
        if neighbour is None or neighbour.budget.signals.allow(now):
            return True
        self._refused.signals += 1
        return False
