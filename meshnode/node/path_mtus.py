"""How long frames may be on the ways out of this node: what transports promise, what was found out, what peers tell."""

from __future__ import annotations

from collections.abc import Callable

from meshnode.mesh.link import LinkLayer, Path, PeerLink
from meshnode.mesh.router import Router
from meshnode.mesh.session import SessionLayer

from .ipv6 import Ipv6Service
from .transports import TransportTable


class PathMtus:
    """Keeps links, routes, sessions and the segment sizes of TCP in step (spec 02 section 10.4)."""

    def __init__(
        self,
        transports: TransportTable,
        links: LinkLayer,
        router: Router,
        sessions: SessionLayer,
        ipv6: Ipv6Service,
        report: Callable[[PeerLink, int, bool], None],
    ) -> None:
        """`report(peer, mtu, limited)` hears of every limit that was found or lifted."""
        self._transports = transports
        self._links = links
        self._router = router
        self._sessions = sessions
        self._ipv6 = ipv6
        self._report = report

    def of(self, peer: PeerLink) -> int:
        """Bytes of the longest link frame to `peer`."""
        return self._transports.link_mtu(peer.path)

    def peer_up(self, peer: PeerLink, now: float) -> None:
        """Trust the transport, and begin to find out."""
        self.clamp(peer.node_addr, self._expect(peer, now))

    def _expect(self, peer: PeerLink, now: float) -> int:
        """What the transport promises. A stream carries every frame that it takes, so there is nothing to find out."""
        promised = self._transports.promised_mtu(peer.path)
        self._links.expect_mtu(peer, promised, now, sure=self._transports.connector(peer.path[0]) is not None)
        return promised

    def peer_moved(self, peer: PeerLink, old: Path, now: float) -> None:
        """Another path is another question."""
        self._transports.limit(old, None)
        self._expect(peer, now)
        self._router.set_link_mtu(peer.node_addr, self.of(peer))

    def promise_changed(self, transport_id: int, address: str | None, now: float) -> None:
        """A transport promises another length than before, towards `address` or towards everybody."""
        for peer in self._links.peers.values():
            if peer.path[0] == transport_id and address in (None, peer.path[1]):
                self._transports.limit(peer.path, None)
                self._expect(peer, now)
                self._apply(peer, now)
        self._sessions.transport_mtu = self._transports.mtu

    def peer_down(self, peer: PeerLink) -> None:
        """Forget what was found out about the path."""
        self._transports.limit(peer.path, None)

    def found(self, peer: PeerLink, now: float) -> None:
        """A path carries shorter frames than its transport promises, or longer ones again."""
        limited = peer.mtu_limit < self._transports.promised_mtu(peer.path)
        self._transports.limit(peer.path, peer.mtu_limit if limited else None)
        self._report(peer, self.of(peer), limited)
        self._apply(peer, now)

    def _apply(self, peer: PeerLink, now: float) -> None:
        """Let everything above the link to `peer` keep to the length of its frames."""
        mtu = self.of(peer)
        self._router.set_link_mtu(peer.node_addr, mtu)
        self.clamp(peer.node_addr, mtu)
        for remote, session in self._sessions.sessions.items():
            if session.path_mtu.current > mtu and self._router.next_hop(remote, now) == peer.node_addr:
                session.path_mtu.seed(mtu)
                self.clamp(remote, mtu)

    def clamp(self, node_addr: bytes, mtu: int | None) -> None:
        """Let TCP with `node_addr` keep to segments that fit into frames of `mtu` bytes; None forgets it."""
        if self._ipv6.adapter is not None:
            self._ipv6.adapter.set_path_mtu(b"\xfd" + node_addr[:15], mtu)
        if mtu is not None:
            self._ipv6.path_narrowed(b"\xfd" + node_addr[:15], mtu)

    def release(self, node_addr: bytes) -> None:
        """Forget a learnt path MTU; a direct peer's is that of its link."""
        peer = self._links.peers.get(node_addr)
        self.clamp(node_addr, None if peer is None else self.of(peer))
