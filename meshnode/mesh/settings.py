"""What an operator may tune in the mesh machines.

Field names and defaults are those of the configuration file (spec 05 section 5), so that the service can fill each
class from the configuration section of the same shape. Times are seconds unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MmpMode = Literal["full", "lightweight", "minimal"]


@dataclass(slots=True)
class LimitSettings:
    """`node.limits`; 0 means no limit where the specification allows it."""

    max_connections: int = 256
    max_peers: int = 128
    max_links: int = 256
    max_pending_inbound: int = 1000


@dataclass(slots=True)
class RateLimitSettings:
    """`node.rate_limit`; the `established_*` pair is derived from the limits when None (spec 01 section 10.1)."""

    handshake_burst: int = 100
    handshake_rate: float = 10.0
    handshake_timeout_secs: int = 30
    handshake_resend_interval_ms: int = 1000
    handshake_resend_backoff: float = 2.0
    handshake_max_resends: int = 5
    established_handshake_burst: int | None = None
    established_handshake_rate: float | None = None
    session_setup_burst: int = 128
    session_setup_rate: float = 128.0


@dataclass(slots=True)
class RetrySettings:
    """`node.retry`."""

    max_retries: int = 5
    base_interval_secs: int = 5
    max_backoff_secs: int = 300


@dataclass(slots=True)
class RekeySettings:
    """`node.rekey`, shared by links and sessions."""

    enabled: bool = True
    after_secs: int = 120
    after_messages: int = 65536


@dataclass(slots=True)
class TreeSettings:
    """`node.tree`."""

    announce_min_interval_ms: int = 500
    parent_hysteresis: float = 0.2
    hold_down_secs: int = 30
    reeval_interval_secs: int = 60
    flap_threshold: int = 4
    flap_window_secs: int = 60
    flap_dampening_secs: int = 120


@dataclass(slots=True)
class BloomSettings:
    """`node.bloom`."""

    update_debounce_ms: int = 500
    max_inbound_fpr: float = 0.20


@dataclass(slots=True)
class LookupSettings:
    """`node.lookup`."""

    ttl: int = 64
    attempt_timeouts_secs: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    recent_expiry_secs: int = 10
    backoff_base_secs: int = 0
    backoff_max_secs: int = 0
    forward_min_interval_secs: int = 2


@dataclass(slots=True)
class CacheSettings:
    """`node.cache`."""

    coord_size: int = 50000
    coord_ttl_secs: int = 300
    identity_size: int = 10000


@dataclass(slots=True)
class SessionSettings:
    """`node.session`."""

    default_ttl: int = 64
    pending_packets_per_dest: int = 16
    pending_max_destinations: int = 256
    idle_timeout_secs: int = 90
    coords_warmup_packets: int = 5
    coords_response_interval_ms: int = 2000


@dataclass(slots=True)
class MmpSettings:
    """`node.mmp` and `node.session_mmp`."""

    mode: MmpMode = "full"
    log_interval_secs: int = 30
    owd_window_size: int = 32


@dataclass(slots=True)
class EcnSettings:
    """`node.ecn`."""

    enabled: bool = True
    loss_threshold: float = 0.05
    etx_threshold: float = 3.0


@dataclass(slots=True)
class MeshSettings:
    """Every section the mesh machines read, plus the scalars of `node`."""

    leaf_only: bool = False
    tick_interval_secs: int = 1
    base_rtt_ms: int = 100
    heartbeat_interval_secs: int = 10
    link_dead_timeout_secs: int = 30
    drain_timeout_secs: int = 2
    limits: LimitSettings = field(default_factory=LimitSettings)
    rate_limit: RateLimitSettings = field(default_factory=RateLimitSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    rekey: RekeySettings = field(default_factory=RekeySettings)
    tree: TreeSettings = field(default_factory=TreeSettings)
    bloom: BloomSettings = field(default_factory=BloomSettings)
    lookup: LookupSettings = field(default_factory=LookupSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    session: SessionSettings = field(default_factory=SessionSettings)
    mmp: MmpSettings = field(default_factory=MmpSettings)
    session_mmp: MmpSettings = field(default_factory=MmpSettings)
    ecn: EcnSettings = field(default_factory=EcnSettings)
