"""What is remembered about a node and its peers, second by second (spec 06 section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshnode.mesh.link import PeerLink
from meshnode.node.core import Node

from .rings import FAST_PER_SLOW, Metric, Series, last, mean, total

PEER_RETENTION = 86400.0

NODE_METRICS = (
    Metric("mesh_size", "nodes", last),
    Metric("tree_depth", "hops", last),
    Metric("peer_count", "peers", last),
    Metric("parent_switches", "events/s", total),
    Metric("bytes_in", "bytes/s", mean),
    Metric("bytes_out", "bytes/s", mean),
    Metric("packets_in", "packets/s", mean),
    Metric("packets_out", "packets/s", mean),
    Metric("loss_rate", "fraction", mean),
    Metric("active_sessions", "sessions", last),
)
PEER_METRICS = (
    Metric("srtt_ms", "ms", mean),
    Metric("loss_rate", "fraction", mean),
    Metric("bytes_in", "bytes/s", mean),
    Metric("bytes_out", "bytes/s", mean),
    Metric("packets_in", "packets/s", mean),
    Metric("packets_out", "packets/s", mean),
    Metric("ecn_ce", "events/s", total),
)


class Record:
    """Some metrics on a common time axis, in the order of `metrics`."""

    __slots__ = ("series",)

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.series = [Series(metric) for metric in metrics]

    def push(self, values: Sequence[float | None]) -> None:
        for series, value in zip(self.series, values, strict=True):
            series.push(value)

    def close_minute(self) -> None:
        for series in self.series:
            series.close_minute()

    def named(self, name: str) -> Series | None:
        return next((series for series in self.series if series.metric.name == name), None)


class PeerRecord(Record):
    """The record of one peer. Moments are seconds on the node's clock."""

    __slots__ = ("_counters", "first_seen", "is_active", "last_contact", "node_addr")

    def __init__(self, node_addr: bytes, now: float) -> None:
        super().__init__(PEER_METRICS)
        self.node_addr = node_addr
        self.first_seen = self.last_contact = now
        self.is_active = True
        self._counters: tuple[int, ...] | None = None

    def sample(self, peer: PeerLink, now: float) -> None:
        measurement = peer.measurement
        counters = (
            peer.bytes_recv,
            peer.bytes_sent,
            peer.packets_recv,
            peer.packets_sent,
            measurement.ecn_ce_count,
        )
        self.push([measurement.srtt_ms, measurement.loss, *self._growth(counters)])
        self._counters = counters
        self.is_active = True
        self.last_contact = now

    def _growth(self, counters: tuple[int, ...]) -> list[float | None]:
        """What each counter grew by; unknown for the first sample, and for a counter that began anew."""
        before = self._counters
        if before is None:
            return [None] * len(counters)
        return [float(new - old) if new >= old else None for new, old in zip(counters, before, strict=True)]

    def miss(self) -> None:
        """The peer is not there in this second."""
        self.push([None] * len(self.series))
        self._counters = None
        self.is_active = False


class History:
    """`sample` is called once a second."""

    def __init__(self) -> None:
        self.node = Record(NODE_METRICS)
        self.peers: dict[bytes, PeerRecord] = {}
        self.samples_taken = 0
        self._counters: tuple[int, ...] | None = None

    def sample(self, node: Node, now: float) -> None:
        """Take one sample of the node and of every peer, and at the end of a minute one slow sample of each series."""
        self.node.push([*_levels(node), *self._rates(node), *_states(node)])
        self._sample_peers(node, now)
        self.samples_taken += 1
        if self.samples_taken % FAST_PER_SLOW == 0:
            for record in (self.node, *self.peers.values()):
                record.close_minute()

    def take_over(self, other: History) -> None:
        """Go on where another one ended."""
        self.node, self.peers, self.samples_taken = other.node, other.peers, other.samples_taken

    def _rates(self, node: Node) -> Iterator[float]:
        counters = _node_counters(node)
        before = self._counters if self._counters is not None else counters
        self._counters = counters
        return (float(max(0, new - old)) for new, old in zip(counters, before, strict=True))

    def _sample_peers(self, node: Node, now: float) -> None:
        for node_addr, peer in node.links.peers.items():
            record = self.peers.get(node_addr)
            if record is None:
                record = self.peers[node_addr] = PeerRecord(node_addr, now)
            record.sample(peer, now)
        for node_addr, record in list(self.peers.items()):
            if node_addr not in node.links.peers:
                record.miss()
                if now - record.last_contact > PEER_RETENTION:
                    del self.peers[node_addr]


def _levels(node: Node) -> tuple[float, float, float]:
    return (
        float(node.router.mesh_size_estimate or 0),
        float(len(node.router.own_coordinates) - 1),
        float(len(node.links.peers)),
    )


def _node_counters(node: Node) -> tuple[int, ...]:
    """The counters behind `parent_switches` to `packets_out`."""
    forwarding = node.forwarding.counters
    return (
        node.router.tree.counters.parent_switches,
        forwarding.received_bytes,
        forwarding.forwarded_bytes + forwarding.originated_bytes,
        forwarding.received_packets,
        forwarding.forwarded_packets + forwarding.originated_packets,
    )


def _states(node: Node) -> tuple[float, float]:
    peers = node.links.peers.values()
    loss = sum(peer.measurement.loss for peer in peers) / len(peers) if peers else 0.0
    return loss, float(len(node.sessions.sessions))
