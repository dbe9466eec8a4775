"""The sections below `node` that the mesh itself reads (spec 05 sections 5.1 to 5.6 and 5.9 to 5.11)."""

from __future__ import annotations

from typing import Literal

from meshnode.config.keys import BOOL, FLOAT, TEXT, U8, U32, U64, Many, Section, choice, key, optional

MmpMode = Literal["full", "lightweight", "minimal"]
LOG_LEVELS = {"trace": "trace", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error"}


class IdentitySection(Section):
    """Who this node is."""

    nsec: str | None = optional(
        TEXT, "Secret key, as `nsec1...` or 64 hex digits. When set, no key file is touched.", secret=True
    )
    persistent: bool = key(BOOL, False, "Keep the key in `fips.key` beside the configuration file, making it once.")


class LimitsSection(Section):
    """How much of everything the node holds at a time."""

    max_connections: int = key(U64, 256, "Handshakes in progress; also the inbound ceiling of TCP without its own.")
    max_peers: int = key(U64, 128, "Authenticated peers; 0 lifts the limit.")
    max_links: int = key(U64, 256, "Links; 0 lifts the limit.")
    max_pending_inbound: int = key(U64, 1000, "Inbound handshakes in progress.")


class RateLimitSection(Section):
    """How fast strangers and peers may open handshakes and sessions."""

    handshake_burst: int = key(U32, 100, "First handshake messages at once from one unknown source.")
    handshake_rate: float = key(FLOAT, 10.0, "The same, refilled per second.")
    handshake_timeout_secs: int = key(U64, 30, "Age at which an unfinished handshake is dropped.")
    handshake_resend_interval_ms: int = key(U64, 1000, "Delay before the first resend of a handshake message.")
    handshake_resend_backoff: float = key(FLOAT, 2.0, "Factor by which that delay grows with each resend.")
    handshake_max_resends: int = key(U32, 5, "Resends per attempt.")
    established_handshake_burst: int | None = optional(
        U32, "First handshake messages from addresses with a live link at once; at least 1. Derived when unset."
    )
    established_handshake_rate: float | None = optional(
        FLOAT, "The same, refilled per second; above 0. Derived when unset."
    )
    session_setup_burst: int = key(U32, 128, "New end-to-end sessions through one peer at once; at least 1.")
    session_setup_rate: float = key(FLOAT, 128.0, "The same, refilled per second; above 0.")


class RetrySection(Section):
    """When a failed dial is tried again."""

    max_retries: int = key(U32, 5, "Retries of peers that are not in this file; 0 turns retries off for all.")
    base_interval_secs: int = key(U64, 5, "Retry n waits this long times two to the power n.")
    max_backoff_secs: int = key(U64, 300, "Longest wait between retries.")


class CacheSection(Section):
    """What the node remembers about others."""

    coord_size: int = key(U64, 50000, "Entries of the coordinate cache.")
    coord_ttl_secs: int = key(U64, 300, "Life of such an entry.")
    identity_size: int = key(U64, 10000, "Entries of the identity cache; the least recently used goes first.")


class LookupSection(Section):
    """How a destination is searched in the mesh."""

    ttl: int = key(U8, 64, "Hop limit of a request.")
    attempt_timeouts_secs: list[int] = key(Many(U64), [1, 2, 4, 8], "Wait per attempt; as many attempts as entries.")
    recent_expiry_secs: int = key(U64, 10, "How long a request is remembered so that a copy is not forwarded.")
    backoff_base_secs: int = key(U64, 0, "Pause after a search that failed, doubling each time; 0 for none.")
    backoff_max_secs: int = key(U64, 0, "Longest such pause.")
    forward_min_interval_secs: int = key(
        U64, 2, "Least time between forwarded requests for one target; a second attempt may come sooner."
    )


class TreeSection(Section):
    """How the spanning tree settles."""

    announce_min_interval_ms: int = key(U64, 500, "Least time between tree announcements to one peer.")
    parent_hysteresis: float = key(FLOAT, 0.2, "How much better, from 0 to 1, a new parent has to be.")
    hold_down_secs: int = key(U64, 30, "No voluntary change of parent this long after one; 0 for none.")
    reeval_interval_secs: int = key(U64, 60, "How often the choice of parent is thought over; 0 for never.")
    flap_threshold: int = key(U32, 4, "Changes of parent within the window that count as flapping.")
    flap_window_secs: int = key(U64, 60, "That window.")
    flap_dampening_secs: int = key(U64, 120, "Hold-down while flapping.")


class BloomSection(Section):
    """Reachability filters."""

    update_debounce_ms: int = key(U64, 500, "Least time between filter updates to one peer.")
    max_inbound_fpr: float = key(FLOAT, 0.20, "A received filter that lies more often than this is dropped.")


class SessionSection(Section):
    """End-to-end sessions."""

    default_ttl: int = key(U8, 64, "Hop limit of datagrams from this node.")
    pending_packets_per_dest: int = key(U64, 16, "Packets that wait for one session to open.")
    pending_max_destinations: int = key(U64, 256, "Destinations for which packets wait.")
    idle_timeout_secs: int = key(U64, 90, "A session without application data for this long is closed.")
    coords_warmup_packets: int = key(U8, 5, "First packets of a session that carry coordinates.")
    coords_response_interval_ms: int = key(U64, 2000, "Least time between answers that refresh coordinates.")


class MmpSection(Section):
    """Measurement of loss, delay and throughput."""

    mode: MmpMode = key(choice("full", "lightweight", "minimal"), "full", "How much is measured and reported.")
    log_interval_secs: int = key(U64, 30, "Read for compatibility, without effect: nothing is logged periodically.")
    owd_window_size: int = key(U64, 32, "Samples of the one-way delay trend; 1 to 4,096.")


class EcnSection(Section):
    """Marking of congestion."""

    enabled: bool = key(BOOL, True, "Mark forwarded packets when the next link is congested.")
    loss_threshold: float = key(FLOAT, 0.05, "Loss of a link, from 0 to 1, that counts as congestion.")
    etx_threshold: float = key(FLOAT, 3.0, "Expected transmissions per packet that count as congestion.")


class RekeySection(Section):
    """When links and sessions change their keys; those of a link up to a minute later while the peer may do it."""

    enabled: bool = key(BOOL, True, "Start rekeys from this side.")
    after_secs: int = key(U64, 120, "Age of a key at which it is replaced; more than 15.")
    after_messages: int = key(U64, 65536, "Messages after which a key is replaced; at least 1.")


class ControlSection(Section):
    """The control socket that `meshctl` and `meshtop` talk to."""

    enabled: bool = key(BOOL, True, "Offer the control socket.")
    socket_path: str | None = optional(
        TEXT, "Path of the socket. Unset, `null`, `~`: chosen as described under default socket path."
    )


class NativeApiSection(Section):
    """Datagrams between local programs and the mesh without an IP packet."""

    enabled: bool = key(BOOL, False, "Offer the socket.")
    socket_path: str | None = optional(TEXT, "Path of the socket; unset as for the control socket.")
    pending_per_flow: int = key(U64, 16, "Datagrams that wait per flow, 1 to 64.")
    backlog: int = key(U64, 16, "Flows that wait to be accepted; at least 1.")
    max_flows: int = key(U64, 256, "Flows in all.")
    debug_commands: bool = key(BOOL, False, "Offer commands for debugging.")


class BuffersSection(Section):
    """Queue lengths of the reference daemon; read and checked (none may be 0), without effect here."""

    packet_channel: int = key(U64, 1024, "From the transports to the node.")
    tun_channel: int = key(U64, 1024, "From the TUN interface to the node.")
    dns_channel: int = key(U64, 64, "From the DNS responder to the node.")
