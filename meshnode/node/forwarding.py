"""Datagrams through this node: originate, deliver, relay (spec 02 section 2, 03 section 9).

Everything works on runs: datagrams that arrived together from one peer with equal envelope and equal session flags.
One route decision, one header and one counter update serve the whole run.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from meshnode.mesh.link import LinkLayer, PeerLink
from meshnode.mesh.router import Router
from meshnode.mesh.settings import MeshSettings
from meshnode.wire.link import FLAG_CE

from .counters import CongestionCounters, ForwardingCounters
from .transports import TransportTable

_HEADER_SIZE = 40
_HEAD = Struct("<BBH16s16s")
_UNPACK_HEAD = Struct("<xBH16s16s").unpack_from
_FRAME_OVERHEAD = 32

Deliver = Callable[[bytes, PeerLink, list[bytes], int, int, bool, float], None]
"""`deliver(source, peer, plaintexts, offset, path_mtu, ce, now)` takes datagrams for this node."""


class Forwarding:
    """Moves datagrams between peers and the session layer of one node."""

    def __init__(
        self,
        node_addr: bytes,
        links: LinkLayer,
        router: Router,
        transports: TransportTable,
        settings: MeshSettings,
        deliver: Deliver,
    ) -> None:
        self._node_addr = node_addr
        self._links = links
        self._router = router
        self._transports = transports
        self._ecn = settings.ecn
        self._default_ttl = settings.session.default_ttl
        self._deliver = deliver
        self._congested: set[bytes] = set()
        self._kernel_drops = 0
        self._dropping = False
        self.counters = ForwardingCounters()
        self.congestion = CongestionCounters()

    # -- from this node

    def originate(self, destination: bytes, payloads: list[bytes], now: float) -> int | None:
        """Send session messages to `destination`; returns the first hop's link MTU, or None without a route."""
        hop = self._router.next_hop(destination, now)
        peer = None if hop is None else self._links.peers.get(hop)
        if peer is None:
            return None
        mtu = self._transports.link_mtu(peer.path)
        head = _HEAD.pack(0, self._default_ttl, min(mtu, 65535), self._node_addr, destination)
        frames = self._links.seal(peer, head, payloads, 0, 0, now)
        self._transports.send(peer.path, frames)
        counters = self.counters
        counters.originated_packets += len(payloads)
        counters.originated_bytes += sum(map(len, payloads)) + len(head) * len(payloads)
        return mtu

    # -- from a peer

    def receive(self, peer: PeerLink, plaintexts: list[bytes], ce: bool, now: float) -> None:
        """Take a run of datagrams from `peer`: link plaintexts with equal envelope, phase and flags."""
        counters = self.counters
        count, nbytes = len(plaintexts), sum(map(len, plaintexts)) - 5 * len(plaintexts)
        counters.received_packets += count
        counters.received_bytes += nbytes
        first = plaintexts[0]
        if len(first) < _HEADER_SIZE:
            counters.decode_error_packets += count
            counters.decode_error_bytes += nbytes
            return
        ttl, path_mtu, source, destination = _UNPACK_HEAD(first, 4)
        if path_mtu > peer.mtu_limit:  # what is too long for the way back did not get here either
            path_mtu = peer.mtu_limit
        if first[40:41] != b"\0" or first[41:42] > b"\0":
            plaintexts = self._warm(peer, plaintexts, source, destination, now)
            if not plaintexts:
                return
        if destination == self._node_addr:
            counters.delivered_packets += len(plaintexts)
            counters.delivered_bytes += sum(map(len, plaintexts)) - 5 * len(plaintexts)
            if source == destination:
                self._router.black_holes.returned([p[_HEADER_SIZE + 4 :] for p in plaintexts], now)
                return
            self._deliver(source, peer, plaintexts, _HEADER_SIZE, path_mtu, ce, now)
        else:
            self._relay(peer.node_addr, plaintexts, ttl, path_mtu, source, destination, ce, now)

    def _warm(
        self, peer: PeerLink, plaintexts: list[bytes], source: bytes, destination: bytes, now: float
    ) -> list[bytes]:
        """Learn coordinates carried in the clear; datagrams that would harm the next node are left out."""
        warm, hands = self._router.warm, peer.node_addr
        sound = [p for p in plaintexts if warm(p, _HEADER_SIZE, source, destination, now, hands)]
        self.counters.warm_malformed_packets = self._router.hints.malformed_packets
        self.counters.warm_malformed_bytes = self._router.hints.malformed_bytes
        return sound

    # -- transit

    def _relay(
        self,
        came_from: bytes,
        plaintexts: list[bytes],
        ttl: int,
        path_mtu: int,
        source: bytes,
        destination: bytes,
        ce: bool,
        now: float,
    ) -> None:
        counters = self.counters
        count = len(plaintexts)
        nbytes = sum(map(len, plaintexts)) - 4 * count
        if ttl <= 1:
            counters.ttl_exhausted_packets += count
            counters.ttl_exhausted_bytes += nbytes - count
            return
        hop = self._router.onward_hop(destination, came_from, now)
        if hop is None and source == destination == came_from:  # it wants to know whether we relay
            hop = came_from
        peer = None if hop is None else self._links.peers.get(hop)
        if peer is None:
            counters.drop_no_route_packets += count
            counters.drop_no_route_bytes += nbytes - count
            error = self._router.routing_error(destination, plaintexts[0], _HEADER_SIZE, now, source, came_from)
            self._signal(source, error, now)
            return
        mtu = self._transports.link_mtu(peer.path)
        if len(max(plaintexts, key=len)) + _FRAME_OVERHEAD > mtu:
            plaintexts = self._refuse_oversize(came_from, plaintexts, mtu, source, destination, now)
            count, nbytes = len(plaintexts), sum(map(len, plaintexts)) - 4 * len(plaintexts)
            if not plaintexts:
                return
        marked = self._marks(peer, ce, count)
        head = _HEAD.pack(0, ttl - 1, min(path_mtu, mtu), source, destination)
        frames = self._links.seal(peer, head, plaintexts, _HEADER_SIZE, FLAG_CE if marked else 0, now)
        self._transports.send(peer.path, frames)
        counters.forwarded_packets += count
        counters.forwarded_bytes += nbytes
        name = f"route_{self._router.route_class(destination, peer.node_addr).value}"
        setattr(counters, name, getattr(counters, name) + count)

    def _marks(self, peer: PeerLink, ce: bool, count: int) -> bool:
        """Whether a run towards `peer` leaves with the congestion mark."""
        congested = self._dropping or peer.node_addr in self._congested
        if congested:
            self.congestion.congestion_detected += count
        if ce or congested:
            self.congestion.ce_forwarded += count
            return True
        return False

    def _refuse_oversize(
        self, came_from: bytes, plaintexts: list[bytes], mtu: int, source: bytes, destination: bytes, now: float
    ) -> list[bytes]:
        fitting = [plaintext for plaintext in plaintexts if len(plaintext) + _FRAME_OVERHEAD <= mtu]
        refused = len(plaintexts) - len(fitting)
        self.counters.drop_mtu_exceeded_packets += refused
        self.counters.drop_mtu_exceeded_bytes += sum(map(len, plaintexts)) - sum(map(len, fitting)) - 5 * refused
        error = self._router.mtu_error(destination, plaintexts[0], _HEADER_SIZE, mtu, now, source, came_from)
        self._signal(source, error, now)
        return fitting

    def _signal(self, source: bytes, payload: bytes | None, now: float) -> None:
        """Send an error signal back, if one is due; its path MTU is not folded (spec 02 section 9.1)."""
        hop = None if payload is None else self._router.next_hop(source, now)
        peer = None if hop is None else self._links.peers.get(hop)
        if peer is not None and payload is not None:
            head = _HEAD.pack(0, self._default_ttl, 65535, self._node_addr, source)
            self._transports.send(peer.path, self._links.seal(peer, head, [payload], 0, 0, now))

    # -- once a second

    def tick(self) -> None:
        """Judge congestion from the measured links and the kernel's drop counters (spec 03 section 9.4)."""
        ecn = self._ecn
        self._congested.clear()
        if not ecn.enabled:
            return
        for peer in self._links.peers.values():
            if peer.measurement.loss >= ecn.loss_threshold or peer.measurement.etx >= ecn.etx_threshold:
                self._congested.add(peer.node_addr)
        drops = sum(transport.stats().get("kernel_drops", 0) for transport in self._transports)
        dropping = drops > self._kernel_drops
        if dropping and not self._dropping:
            self.congestion.kernel_drop_events += 1
        self._kernel_drops, self._dropping = drops, dropping
