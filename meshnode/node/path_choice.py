"""Which of several paths a peer is reached on.

The operator's priorities come first, then what carriers of a kind are like. Of two connections alike it is the one that
the smaller node address dialled: both sides have to settle on the same one, or each would for ever follow the other to
where that one just left (spec 04 section 4.2).
"""

from __future__ import annotations

from meshnode.identity import PeerIdentity
from meshnode.mesh.link import Path, PeerLink, Stray

from .transports import TransportTable

QUIET_SECS = 3.0
"""A path over which nothing came for this long, while the peer speaks over another, is given up; so is one on which the
peer does not follow us for this long."""

SHUN_SECS = 60.0
"""How long a path that works in one direction only is left alone."""

COSTS = {"ethernet": 1, "udp": 2, "tcp": 3, "ble": 5, "tor": 6, "nym": 7}
"""The lower, the sooner used: delay first, then what a carrier adds and how much it carries."""

OTHER_COST = 4  # of carriers that other packages bring


class PathChoice:
    """Compares the paths of one peer."""

    def __init__(self, transports: TransportTable, own: PeerIdentity) -> None:
        self._transports = transports
        self._own_addr = own.node_addr

    def follows(self, peer: PeerLink, path: Path, now: float) -> bool:
        """Whether `peer`, heard along `path`, is to be reached there from now on instead of along its own path."""
        patience = max(QUIET_SECS, peer.trust.patience(peer.measurement.srtt_ms))
        if not self._transports.is_open(peer.path) or now - peer.path_heard >= patience:
            return True
        if self._rank(peer, path) <= self._rank(peer, peer.path):
            return not _is_shunned(peer, path, now)
        if _strays(peer, path, now) < patience:
            return False
        # The peer would have followed us long ago if it heard us where we are.
        peer.shunned, peer.stray = (peer.path, now + SHUN_SECS), None
        return True

    def cost(self, path: Path) -> int:
        """What using the carrier of `path` costs, by its kind."""
        transport = self._transports.get(path[0])
        return OTHER_COST if transport is None else COSTS.get(transport.kind, OTHER_COST)

    def _rank(self, peer: PeerLink, path: Path) -> tuple[int, bool]:
        """The lower, the better."""
        connector = self._transports.connector(path[0])
        if connector is None:
            return self.cost(path), False
        dialled = not connector.is_inbound(path[1])
        return self.cost(path), dialled != (self._own_addr < peer.node_addr)


def _strays(peer: PeerLink, path: Path, now: float) -> float:
    """Seconds for which `peer` has now been heard along `path` instead of its own."""
    stray = peer.stray
    if stray is None or stray.path != path or now - stray.last >= QUIET_SECS:
        stray = peer.stray = Stray(path, now)
    stray.last = now
    return now - stray.since


def _is_shunned(peer: PeerLink, path: Path, now: float) -> bool:
    return peer.shunned is not None and peer.shunned[0] == path and now < peer.shunned[1]
