"""Peers, links, handshakes and transports as they are shown (spec 06 sections 3.3, 3.4, 3.10 and 3.11)."""

from __future__ import annotations

from itertools import chain
from typing import Any

from meshnode.mesh.link import Handshake, PeerLink
from meshnode.mesh.neighbour import Neighbour
from meshnode.transports.interfaces import ITransport, ITransportDetails

from .encoding import Answer
from .quality import link_quality
from .view import View, without_unknown

_NO_TRAVERSAL = {
    "consecutive_failures": 0,
    "in_cooldown": False,
    "cooldown_until_ms": None,
    "last_observed_skew_ms": None,
}
_UNMEASURED_COST = 1.0


def show_peers(view: View) -> Answer:
    peers = list(view.node.links.peers.values())
    somebody_measured = any(peer.measurement.link_cost is not None for peer in peers)
    return {"peers": (_peer_row(view, peer, somebody_measured) for peer in peers)}


def _peer_row(view: View, peer: PeerLink, somebody_measured: bool) -> dict[str, Any]:
    transport = view.transport_of(peer)
    return {
        "node_addr": peer.node_addr.hex(),
        "npub": peer.identity.npub,
        "display_name": view.name(peer.node_addr),
        "ipv6_addr": peer.identity.ipv6_text,
        "connectivity": "stale" if peer.distrusted else "connected",
        "link_id": peer.link_id,
        "authenticated_at_ms": view.unix_ms(peer.promoted_at),
        "last_seen_ms": view.unix_ms(peer.last_heard),
        "transport_addr": peer.path[1],
        "direction": _direction(peer.inbound),
        "stats": _traffic(peer),
        "nostr_traversal": _NO_TRAVERSAL,
        "mmp": link_quality(peer.measurement),
        **({} if transport is None else {"transport_type": transport.kind}),
        **_doubts(peer, view.node.router.neighbours.get(peer.node_addr)),
        **_security(peer),
        **_position(view, peer, somebody_measured),
        **_frames(view, peer),
        **_clock(view.node.router.neighbours.get(peer.node_addr)),
    }


def _frames(view: View, peer: PeerLink) -> dict[str, int]:
    """Ours: bytes of the longest frame that gets through, and what the transport promised where that is more."""
    carried, promised = view.node.path_mtus.of(peer), view.node.transports.promised_mtu(peer.path)
    return {"link_mtu": carried, **({"promised_mtu": promised} if carried < promised else {})}


def _clock(neighbour: Neighbour | None) -> dict[str, Any]:
    """Ours: how far the peer's clock is ahead of this machine's, as far as its announces tell."""
    clock = None if neighbour is None else neighbour.clock
    return {} if clock is None else {"clock_ahead_secs": clock.ahead, "clock_ahead_is_exact": clock.is_exact}


def _doubts(peer: PeerLink, neighbour: Neighbour | None) -> dict[str, str]:
    """Ours: a silent peer is `doubtful` while it is probed, and `distrusted` once that had no answer.

    One that drops what is led through it is a `black_hole`; one that is `withholding` leaves out of its filters even
    those it hangs below.
    """
    if peer.distrusted:
        return {"trust": "distrusted"}
    if neighbour is not None and neighbour.black_hole:
        return {"trust": "black_hole"}
    if peer.doubtful:
        return {"trust": "doubtful"}
    return {"trust": "withholding"} if neighbour is not None and neighbour.withholds else {}


def _traffic(peer: PeerLink) -> dict[str, int]:
    return {
        "packets_sent": peer.packets_sent,
        "packets_recv": peer.packets_recv,
        "bytes_sent": peer.bytes_sent,
        "bytes_recv": peer.bytes_recv,
    }


def _security(peer: PeerLink) -> dict[str, Any]:
    epoch = peer.current
    return {
        "replay_suppressed": peer.replays,
        "consecutive_decrypt_failures": peer.consecutive_failures,
        "noise": {"send_counter": epoch.send_counter, "highest_recv_counter": max(0, epoch.window.highest)},
        "our_session_index": f"{int.from_bytes(epoch.our_index, 'little'):08x}",
        "current_k_bit": bool(peer.k_bit),
        **({"rekey_in_progress": True} if peer.rekey is not None else {}),
        **({"rekey_draining": True} if peer.draining else {}),
    }


def _position(view: View, peer: PeerLink, somebody_measured: bool) -> dict[str, Any]:
    """Where the peer stands in the tree, and whether it told what lies behind it."""
    tree = view.node.router.tree
    neighbour = view.node.router.neighbours.get(peer.node_addr)
    position = None if neighbour is None else neighbour.position
    filter_sequence = 0 if neighbour is None else neighbour.filter_sequence
    return {
        "has_tree_position": position is not None,
        "has_bloom_filter": filter_sequence > 0,
        "filter_sequence": filter_sequence,
        "is_parent": not tree.is_root and tree.parent == peer.node_addr,
        "is_child": position is not None and position.parent == view.own_addr,
        "effective_depth": _effective_depth(neighbour, peer.measurement.link_cost, somebody_measured),
        **({} if position is None else {"tree_depth": position.depth}),
    }


def _effective_depth(neighbour: Neighbour | None, cost: float | None, somebody_measured: bool) -> float | None:
    """Depth plus link cost; an unmeasured link has no cost once another one was measured."""
    if neighbour is None or neighbour.position is None or (cost is None and somebody_measured):
        return None
    return neighbour.position.depth + (_UNMEASURED_COST if cost is None else cost)


def show_links(view: View) -> Answer:
    """Links, and dials of ours. Who asked for a link and has not proved to be alive is shown nowhere."""
    links = view.node.links
    return {
        "links": chain(
            (_link_row(view, peer) for peer in list(links.peers.values())),
            (_dial_row(view, handshake) for handshake in links.handshakes),
        )
    }


def link_count(view: View) -> int:
    """Links, those still being made included."""
    return len(view.node.links.peers) + handshake_count(view)


def handshake_count(view: View) -> int:
    return len(view.node.links.handshakes)


def _link_row(view: View, peer: PeerLink) -> dict[str, Any]:
    return {
        "link_id": peer.link_id,
        "transport_id": peer.path[0],
        "remote_addr": peer.path[1],
        "direction": _direction(peer.inbound),
        "state": "connected",
        "created_at_ms": view.unix_ms(peer.promoted_at),
        "stats": {**_traffic(peer), "last_recv_ms": view.unix_ms(peer.last_heard)},
    }


def _dial_row(view: View, handshake: Handshake) -> dict[str, Any]:
    sent = 1 + handshake.resends
    row = _unfinished(view, handshake)
    row["stats"].update(packets_sent=sent, bytes_sent=sent * len(handshake.frame))
    return row


def _unfinished(view: View, handshake: Handshake) -> dict[str, Any]:
    return {
        "link_id": handshake.link_id,
        "transport_id": handshake.path[0],
        "remote_addr": handshake.path[1],
        "direction": _direction(False),
        "state": "connecting",
        "created_at_ms": view.unix_ms(handshake.started),
        "stats": {"packets_sent": 0, "packets_recv": 0, "bytes_sent": 0, "bytes_recv": 0, "last_recv_ms": 0},
    }


def show_connections(view: View) -> Answer:
    return {"connections": (_dial(view, handshake) for handshake in view.node.links.handshakes)}


def _dial(view: View, handshake: Handshake) -> dict[str, Any]:
    return {
        "link_id": handshake.link_id,
        "direction": "outbound",
        "handshake_state": "sent_msg1",
        "started_at_ms": view.unix_ms(handshake.started),
        "idle_ms": view.age_ms(handshake.started),
        "resend_count": handshake.resends,
        "expected_peer": handshake.remote.npub,
    }


def show_transports(view: View) -> Answer:
    transports = sorted(view.node.transports, key=lambda transport: transport.transport_id)
    return {"transports": (_transport_row(transport) for transport in transports)}


def _transport_row(transport: ITransport) -> dict[str, Any]:
    details = transport.details() if ITransportDetails.providedBy(transport) else {}
    return without_unknown(
        {
            **details,
            "transport_id": transport.transport_id,
            "type": transport.kind,
            "state": transport.state,
            "mtu": transport.mtu,
            "name": transport.name,
            "local_addr": transport.local_address,
            "stats": transport.stats(),
        }
    )


def _direction(inbound: bool) -> str:
    return "inbound" if inbound else "outbound"
