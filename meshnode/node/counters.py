"""What became of datagrams and frames, under the names operators read (spec 02 section 17, 06 section 3.13)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ForwardingCounters:
    """Datagrams by outcome, in packets and bytes, and transit by class of route."""

    received_packets: int = 0
    received_bytes: int = 0
    decode_error_packets: int = 0
    decode_error_bytes: int = 0
    warm_malformed_packets: int = 0
    warm_malformed_bytes: int = 0
    ttl_exhausted_packets: int = 0
    ttl_exhausted_bytes: int = 0
    delivered_packets: int = 0
    delivered_bytes: int = 0
    forwarded_packets: int = 0
    forwarded_bytes: int = 0
    drop_no_route_packets: int = 0
    drop_no_route_bytes: int = 0
    drop_mtu_exceeded_packets: int = 0
    drop_mtu_exceeded_bytes: int = 0
    drop_send_error_packets: int = 0
    drop_send_error_bytes: int = 0
    originated_packets: int = 0
    originated_bytes: int = 0
    route_tree_up: int = 0
    route_tree_down: int = 0
    route_tree_down_cross: int = 0
    route_crosslink_descend: int = 0
    route_crosslink_ascend: int = 0
    route_direct_peer: int = 0


@dataclass(slots=True)
class CongestionCounters:
    """Congestion marks set, seen and relayed."""

    ce_forwarded: int = 0
    ce_received: int = 0
    congestion_detected: int = 0
    kernel_drop_events: int = 0
