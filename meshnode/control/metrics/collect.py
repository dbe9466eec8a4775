"""From a node to the samples of every family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from meshnode import __version__
from meshnode.mesh.link import PeerLink
from meshnode.transports.interfaces import ITransport

from ..links import handshake_count
from ..routing import show_metrics
from ..view import View
from .families import EVENT_FAMILIES

_TRAFFIC = {
    "bytes_sent": "transport_sent_bytes_total",
    "bytes_recv": "transport_received_bytes_total",
    "packets_sent": "transport_sent_packets_total",
    "packets_recv": "transport_received_packets_total",
    "frames_sent": "transport_sent_packets_total",
    "frames_recv": "transport_received_packets_total",
}
_POOL = "pool_"


class Sample(NamedTuple):
    """A value of one family, with the values of its labels."""

    family: str
    labels: tuple[str, ...]
    value: float


def samples(view: View) -> Iterator[Sample]:
    """All samples of a node, in no particular order."""
    yield from _node(view)
    for peer in list(view.node.links.peers.values()):
        yield from _peer(view, peer)
    yield from _configured(view)
    for transport in view.node.transports:
        yield from _transport(transport)
    yield from _counters(show_metrics(view))


def _node(view: View) -> Iterator[Sample]:
    node, router = view.node, view.node.router
    yield Sample("info", (__version__, node.identity.npub), 1)
    yield Sample("start_time_seconds", (), view.unix_ms(node.started_at) / 1000)
    yield Sample("state", (node.state,), 1)
    levels: dict[str, float | None] = {
        "peers": len(node.links.peers),
        "sessions": len(node.sessions.sessions),
        "handshakes": handshake_count(view),
        "mesh_size_nodes": router.mesh_size_estimate,
        "tree_depth_hops": len(router.own_coordinates) - 1,
        "tree_is_root": router.tree.is_root,
        "coordinate_cache_entries": len(router.coordinate_cache),
        "identity_cache_entries": len(node.identities),
        "pending_lookups": len(router.lookups.pending),
        "pending_packets": node.sessions.waiting_packets[1],
    }
    yield from _known(levels, ())


def _peer(view: View, peer: PeerLink) -> Iterator[Sample]:
    tree, measurement = view.node.router.tree, peer.measurement
    srtt_ms, neighbour = measurement.srtt_ms, view.node.router.neighbours.get(peer.node_addr)
    values: dict[str, float | None] = {
        "peer_round_trip_seconds": None if srtt_ms is None else srtt_ms / 1000,
        "peer_loss_ratio": measurement.loss,
        "peer_etx": measurement.etx,
        "peer_goodput_bytes_per_second": measurement.goodput,
        "peer_last_heard_timestamp_seconds": view.unix_ms(peer.last_heard) / 1000,
        "peer_black_hole": None if neighbour is None else neighbour.black_hole,
        "peer_distrusted": peer.distrusted,
        "peer_is_parent": not tree.is_root and tree.parent == peer.node_addr,
        "peer_sent_bytes_total": peer.bytes_sent,
        "peer_received_bytes_total": peer.bytes_recv,
        "peer_sent_packets_total": peer.packets_sent,
        "peer_received_packets_total": peer.packets_recv,
    }
    yield from _known(values, (view.name(peer.node_addr), peer.identity.npub))


def _configured(view: View) -> Iterator[Sample]:
    for known in view.node.peering.known:
        if known.configured is not None:
            identity = known.identity
            is_connected = identity.node_addr in view.node.links.peers
            yield Sample("configured_peer_connected", (view.name(identity.node_addr), identity.npub), is_connected)


def _transport(transport: ITransport) -> Iterator[Sample]:
    labels = (transport.name or str(transport.transport_id), transport.kind)
    yield Sample("transport_up", labels, transport.state == "up")
    yield Sample("transport_mtu_bytes", labels, transport.mtu)
    for name, value in transport.stats().items():
        if name in _TRAFFIC:
            yield Sample(_TRAFFIC[name], labels, value)
        elif name.startswith(_POOL):
            yield Sample("transport_connections", (*labels, name.removeprefix(_POOL)), value)
        else:
            yield Sample("transport_events_total", (*labels, name), value)


def _counters(families: Mapping[str, Any]) -> Iterator[Sample]:
    yield from _forwarding(families["forwarding"])
    yield from _interface(families["interface"])
    for family, name in EVENT_FAMILIES.items():
        for event, value in families[family].items():
            yield Sample(name, (event,), value)


def _forwarding(counters: Mapping[str, int]) -> Iterator[Sample]:
    for name, value in counters.items():
        subject, _, unit = name.rpartition("_")
        if name.startswith("route_"):
            yield Sample("route_packets_total", (name.removeprefix("route_"),), value)
        else:
            yield Sample(f"forwarding_{unit}_total", (subject,), value)


def _interface(counters: Mapping[str, int]) -> Iterator[Sample]:
    for name, value in counters.items():
        unit, _, direction = name.partition("_")
        if unit in ("packets", "bytes"):
            yield Sample(f"interface_{unit}_total", (direction,), value)
        else:
            yield Sample("interface_events_total", (name,), value)


def _known(values: Mapping[str, float | None], labels: tuple[str, ...]) -> Iterator[Sample]:
    return (Sample(name, labels, value) for name, value in values.items() if value is not None)
