"""Which of several paths a peer is reached on.

A peer may be heard over two connections at once, because both sides dialled. Both have to settle on the same one, or
each would for ever follow the other to where that one just left: of two paths alike, the one that the smaller node
address dialled is used (spec 04 section 4.2).
"""

from __future__ import annotations

from meshnode.identity import PeerIdentity
from meshnode.mesh.link import Path, PeerLink

from .transports import TransportTable

QUIET_SECS = 3.0
"""A path over which nothing came for this long, while the peer speaks over another, is given up."""


class PathChoice:
    """Compares the paths of one peer."""

    def __init__(self, transports: TransportTable, own: PeerIdentity) -> None:
        self._transports = transports
        self._own_addr = own.node_addr

    def follows(self, peer: PeerLink, path: Path, now: float) -> bool:
        """Whether `peer`, heard along `path`, is to be reached there from now on instead of along its own path."""
        if not self._transports.is_open(peer.path) or self.rank(peer, path) <= self.rank(peer, peer.path):
            return True
        return now - peer.path_heard >= max(QUIET_SECS, peer.trust.patience(peer.measurement.srtt_ms))

    def rank(self, peer: PeerLink, path: Path) -> int:
        """The lower, the better."""
        connector = self._transports.connector(path[0])
        if connector is None:
            return 0
        dialled = not connector.is_inbound(path[1])
        return 0 if dialled == (self._own_addr < peer.node_addr) else 1
