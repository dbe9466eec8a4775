"""Tree, filters, coordinates, lookups and counters as they are shown (spec 06 sections 3.5, 3.7, 3.9, 3.14, 3.15)."""

from __future__ import annotations

from typing import Any

from meshnode.mesh.bloom import FILTER_BITS, estimated_members
from meshnode.mesh.coordinates import CacheEntry, distance
from meshnode.mesh.lookup import PendingLookup
from meshnode.mesh.neighbour import Neighbour
from meshnode.node.peering import Retry

from .encoding import Answer
from .view import View, counts, hex_list, mesh_address

_NATIVE_COUNTERS = (
    "flows_opened",
    "flows_accepted",
    "flows_closed",
    "flows_expired",
    "sent_datagrams",
    "sent_bytes",
    "received_datagrams",
    "received_bytes",
    "drop_no_port",
    "drop_backlog_full",
    "drop_too_many_flows",
    "drop_pending_queue_full",
    "drop_flow_queue_full",
    "drop_arrival_queue_full",
    "drop_listener_not_reading",
    "drop_listener_gone",
    "drop_oversize",
)


def show_tree(view: View) -> Answer:
    tree = view.node.router.tree
    neighbours = list(view.node.router.neighbours.values())
    root = view.node.identity.peer if tree.is_root else view.node.identities.peek_exact(tree.root)
    return {
        "my_node_addr": tree.me.hex(),
        "root": tree.root.hex(),
        "root_npub": None if root is None else root.npub,
        "is_root": tree.is_root,
        "depth": len(tree.coordinates) - 1,
        "my_coords": hex_list(tree.coordinates),
        "parent": tree.parent.hex(),
        "parent_display_name": view.name(tree.parent),
        "declaration_sequence": tree.sequence,
        "declaration_signed": True,
        "peer_tree_count": sum(1 for neighbour in neighbours if neighbour.position is not None),
        "peers": (_tree_row(view, neighbour) for neighbour in neighbours),
        "stats": counts(tree.counters),
    }


def _tree_row(view: View, neighbour: Neighbour) -> dict[str, Any]:
    row: dict[str, Any] = {"node_addr": neighbour.address.hex(), "display_name": view.name(neighbour.address)}
    position = neighbour.position
    if position is not None:
        row |= {
            "depth": position.depth,
            "root": position.root.hex(),
            "coords": hex_list(position.coordinates),
            "distance_to_us": distance(position.coordinates, view.node.router.own_coordinates),
        }
    return row


def show_bloom(view: View) -> Answer:
    router = view.node.router
    parent = None if router.tree.is_root else router.neighbours.get(router.tree.parent)
    uptree = None if parent is None else parent.filter_sent
    return {
        "own_node_addr": view.own_addr.hex(),
        "is_leaf_only": view.node.settings.leaf_only,
        "sequence": router.filters.sequence,
        "leaf_dependent_count": 0,
        "leaf_dependents": [],
        "peer_filters": (_filter_row(view, neighbour) for neighbour in list(router.neighbours.values())),
        "uptree_fill_ratio": None if uptree is None else uptree.bit_count() / FILTER_BITS,
        "uptree_estimated_count": None if uptree is None else estimated_members(uptree, _most_false(view)),
        "stats": counts(router.filters.counters),
    }


def _filter_row(view: View, neighbour: Neighbour) -> dict[str, Any]:
    bits = neighbour.filter
    row: dict[str, Any] = {
        "peer": neighbour.address.hex(),
        "display_name": view.name(neighbour.address),
        "has_filter": bits is not None,
        "filter_sequence": neighbour.filter_sequence,
    }
    if bits is not None:
        row |= {
            "estimated_count": estimated_members(bits, _most_false(view)),
            "set_bits": bits.bit_count(),
            "fill_ratio": bits.bit_count() / FILTER_BITS,
        }
    return row


def _most_false(view: View) -> float:
    return view.node.settings.bloom.max_inbound_fpr


def show_cache(view: View) -> Answer:
    cache = view.node.router.coordinate_cache
    # The cache may hold tens of thousands: no new containers here, or the garbage collector stops the node.
    entries = [entry for _owner, entry in cache.items()]
    now = view.now
    return {
        "count": len(entries),
        "max_entries": cache.capacity,
        "fill_ratio": len(entries) / cache.capacity if cache.capacity else 0.0,
        "default_ttl_ms": int(cache.ttl * 1000),
        "expired": sum([now > entry.expires for entry in entries]),
        "avg_age_ms": view.age_ms(sum([entry.created for entry in entries]) / len(entries)) if entries else 0,
        "entries": (_cache_row(view, entry) for entry in entries),
    }


def _cache_row(view: View, entry: CacheEntry) -> dict[str, Any]:
    owner = entry.coordinates[0]
    row: dict[str, Any] = {
        "node_addr": owner.hex(),
        "display_name": view.name(owner),
        "ipv6_addr": mesh_address(owner),
        "depth": len(entry.coordinates) - 1,
        "coords": hex_list(entry.coordinates),
        "age_ms": view.age_ms(entry.created),
        "last_used_ms": view.unix_ms(entry.last_used),
    }
    if entry.path_mtu is not None:
        row["path_mtu"] = entry.path_mtu
    return row


def show_routing(view: View) -> Answer:
    node = view.node
    lookups = node.router.lookups
    lookup = counts(lookups.counters)
    destinations, packets = view.node.sessions.waiting_packets
    return {
        "coord_cache_entries": len(node.router.coordinate_cache),
        "identity_cache_entries": len(node.identities),
        "pending_tun_destinations": destinations,
        "pending_tun_packets": packets,
        "recent_requests": len(lookups.recent),
        "pending_lookups": (_lookup_row(view, target, entry) for target, entry in list(lookups.pending.items())),
        "retries": (_retry_row(view, retry) for retry in list(node.peering.retries.values())),
        "forwarding": forwarding(view),
        "lookup": lookup,
        "discovery": lookup,
        "error_signals": _errors(view),
        "congestion": _congestion(view),
    }


def _lookup_row(view: View, target: bytes, entry: PendingLookup) -> dict[str, Any]:
    return {
        "target": target.hex(),
        "display_name": view.name(target),
        "initiated_ms": view.unix_ms(entry.initiated),
        "last_sent_ms": view.unix_ms(entry.last_sent),
        "attempt": entry.attempt,
        "age_ms": view.age_ms(entry.initiated),
    }


def _retry_row(view: View, retry: Retry) -> dict[str, Any]:
    node_addr = retry.identity.node_addr
    return {
        "node_addr": node_addr.hex(),
        "display_name": view.name(node_addr),
        "retry_count": retry.count,
        "retry_after_ms": view.unix_ms(retry.due),
        "auto_reconnect": retry.reconnect,
    }


def show_metrics(view: View) -> Answer:
    lookup = counts(view.node.router.counters.lookup)
    return {
        "forwarding": forwarding(view),
        "lookup": lookup,
        "discovery": lookup,
        "tree": counts(view.node.router.counters.tree),
        "bloom": counts(view.node.router.counters.bloom),
        "congestion": _congestion(view),
        "errors": _errors(view),
        "native": native_counters(),
        "link": counts(view.node.links.counters),
        "session": counts(view.node.sessions.counters),
        "refused": counts(view.node.router.refused),
        "interface": counts(view.node.ipv6.interface),
    }


def show_native_flows(view: View) -> Answer:
    """Datagram flows of local programs, of which there are none."""
    return {"flows": [], "listeners": [], "stats": native_counters()}


def native_counters() -> dict[str, int]:
    return dict.fromkeys(_NATIVE_COUNTERS, 0)


def forwarding(view: View) -> dict[str, int]:
    return counts(view.node.forwarding.counters)


def _errors(view: View) -> dict[str, int]:
    below_floor = view.node.router.lookups.lookup_resp_mtu_below_floor
    return {**counts(view.node.sessions.errors), "lookup_resp_mtu_below_floor": below_floor}


def _congestion(view: View) -> dict[str, int]:
    congestion = counts(view.node.forwarding.congestion)
    adapter = view.node.ipv6.adapter
    if adapter is not None:
        congestion["ce_received"] += adapter.counters.ce_received
    return congestion
