"""Every metric by name: kind, labels, and what it means. Reference page and dashboard are checked against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

PREFIX = "meshnode_"


class Family(NamedTuple):
    """One metric. `labels` are in the order in which samples give their values."""

    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()


_PEER = ("peer", "npub")
_TRANSPORT = ("transport", "type")

FAMILIES: Mapping[str, Family] = {
    "info": Family("gauge", "Always 1; version and public key of the node.", ("version", "npub")),
    "start_time_seconds": Family("gauge", "When the node started, in Unix time."),
    "state": Family("gauge", "1 for the state the node is in.", ("state",)),
    "peers": Family("gauge", "Authenticated neighbours."),
    "sessions": Family("gauge", "End-to-end sessions, those being opened included."),
    "handshakes": Family("gauge", "Link handshakes under way."),
    "mesh_size_nodes": Family("gauge", "Estimated number of nodes in the mesh; absent while unknown."),
    "tree_depth_hops": Family("gauge", "Distance to the root of the tree."),
    "tree_is_root": Family("gauge", "1 when this node is the root."),
    "coordinate_cache_entries": Family("gauge", "Nodes whose place in the tree is known."),
    "identity_cache_entries": Family("gauge", "Nodes whose public key is known."),
    "pending_lookups": Family("gauge", "Lookups under way."),
    "pending_packets": Family("gauge", "IPv6 packets that wait for a session."),
    "configured_peer_connected": Family("gauge", "1 for a configured peer that is connected, 0 for one not.", _PEER),
    "peer_round_trip_seconds": Family("gauge", "Smoothed round trip of the link; absent before the first.", _PEER),
    "peer_loss_ratio": Family("gauge", "Share of our frames lost on the link, latest report.", _PEER),
    "peer_etx": Family("gauge", "How often a frame has to be sent until it arrives.", _PEER),
    "peer_goodput_bytes_per_second": Family("gauge", "Bytes that reached the peer, smoothed.", _PEER),
    "peer_last_heard_timestamp_seconds": Family("gauge", "When the peer was last heard, in Unix time.", _PEER),
    "peer_black_hole": Family("gauge", "1 while a peer drops what is led through it, and traffic avoids it.", _PEER),
    "peer_distrusted": Family("gauge", "1 while a peer is silent and not relied on.", _PEER),
    "peer_is_parent": Family("gauge", "1 for the parent in the tree.", _PEER),
    "peer_sent_bytes_total": Family("counter", "Bytes of link frames sent on this link.", _PEER),
    "peer_received_bytes_total": Family("counter", "Bytes of authentic link frames received on this link.", _PEER),
    "peer_sent_packets_total": Family("counter", "Link frames sent on this link.", _PEER),
    "peer_received_packets_total": Family("counter", "Authentic link frames received on this link.", _PEER),
    "transport_up": Family("gauge", "1 for a transport that works.", _TRANSPORT),
    "transport_mtu_bytes": Family("gauge", "Largest link frame of a transport.", _TRANSPORT),
    "transport_sent_bytes_total": Family("counter", "Bytes of frames sent.", _TRANSPORT),
    "transport_received_bytes_total": Family("counter", "Bytes of frames received.", _TRANSPORT),
    "transport_sent_packets_total": Family("counter", "Frames sent.", _TRANSPORT),
    "transport_received_packets_total": Family("counter", "Frames received.", _TRANSPORT),
    "transport_events_total": Family("counter", "Everything else a transport counts, by name.", (*_TRANSPORT, "event")),
    "transport_connections": Family("gauge", "Open connections of a transport, by direction.", (*_TRANSPORT, "pool")),
    "forwarding_packets_total": Family("counter", "Datagrams by what became of them.", ("outcome",)),
    "forwarding_bytes_total": Family("counter", "Bytes of datagrams by what became of them.", ("outcome",)),
    "route_packets_total": Family("counter", "Datagrams passed on, by class of route.", ("class",)),
    "lookup_events_total": Family("counter", "Requests for a node's place and answers, by what happened.", ("event",)),
    "tree_events_total": Family("counter", "Announcements of the tree, by what happened.", ("event",)),
    "bloom_events_total": Family("counter", "Announcements of filters, by what happened.", ("event",)),
    "congestion_events_total": Family("counter", "Congestion marks and losses in the kernel.", ("event",)),
    "error_signal_events_total": Family("counter", "Error signals from the mesh, by kind.", ("event",)),
    "link_events_total": Family("counter", "Frames and handshakes of links that were refused, by reason.", ("event",)),
    "interface_packets_total": Family("counter", "Packets read from the host and written to it.", ("direction",)),
    "interface_bytes_total": Family("counter", "Bytes of IPv6 read from the host and written to it.", ("direction",)),
    "interface_events_total": Family("counter", "Packets that were dropped or marked there, by how.", ("event",)),
    "refused_requests_total": Family("counter", "What peers wanted beyond their budgets, by kind.", ("event",)),
    "session_events_total": Family("counter", "Session messages that were refused, by reason.", ("event",)),
}
"""By name without the prefix."""

EVENT_FAMILIES: Mapping[str, str] = {
    "lookup": "lookup_events_total",
    "tree": "tree_events_total",
    "bloom": "bloom_events_total",
    "congestion": "congestion_events_total",
    "errors": "error_signal_events_total",
    "link": "link_events_total",
    "session": "session_events_total",
    "refused": "refused_requests_total",
}
"""The families of `show_metrics` that are told as events."""
