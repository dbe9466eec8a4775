"""`node.rendezvous`: finding peers that are not named with an address (spec 05 sections 5.7, 5.8 and 7)."""

from __future__ import annotations

from typing import ClassVar, Literal

from meshnode.config.keys import (
    BOOL,
    TEXT,
    TEXTS,
    U8,
    U32,
    U64,
    Many,
    Section,
    Values,
    block,
    choice,
    key,
    optional,
    replaced,
)

DEFAULT_APP = "fips-overlay-v1"
RELAYS = ["wss://relay.damus.io", "wss://nos.lol", "wss://offchain.pub"]
STUN_SERVERS = ["stun:stun.l.google.com:19302", "stun:stun.cloudflare.com:3478", "stun:global.stun.twilio.com:3478"]

NostrPolicy = Literal["disabled", "configured_only", "open"]


class NostrSection(Section):
    """Adverts and connection offers over Nostr relays."""

    STRICT: ClassVar[bool] = True
    TITLE: ClassVar[str] = "the nostr section"

    enabled: bool = key(BOOL, False, "Use Nostr at all.")
    advertise: bool = key(BOOL, True, "Publish where this node can be reached.")
    advert_relays: list[str] = key(TEXTS, RELAYS, "Relays for adverts.")
    dm_relays: list[str] = key(TEXTS, RELAYS, "Relays for offers and answers.")
    stun_servers: list[str] = key(TEXTS, STUN_SERVERS, "Servers that tell this node its outside address.")
    share_local_candidates: bool = key(BOOL, False, "Put private addresses into offers.")
    app: str = key(TEXT, DEFAULT_APP, "Name space; nodes of another one are not seen.")
    signal_ttl_secs: int = key(U64, 120, "Life of an offer; with 120 added it stays below `replay_window_secs`.")
    policy: NostrPolicy = key(
        choice("disabled", "configured_only", "open"), "configured_only", "Whose adverts lead to a dial."
    )
    open_discovery_max_pending: int = key(U64, 64, "Dials that wait under policy `open`.")
    max_concurrent_incoming_offers: int = key(U64, 16, "Inbound offers handled at once.")
    max_concurrent_offers_per_npub: int = key(U64, 4, "Of which from one sender; at least 1.")
    advert_cache_max_entries: int = key(U64, 2048, "Adverts remembered.")
    seen_sessions_max_entries: int = key(U64, 2048, "Offers remembered against replay.")
    attempt_timeout_secs: int = key(U64, 10, "Time for one attempt at traversal.")
    replay_window_secs: int = key(U64, 300, "How long offers are remembered against replay.")
    punch_start_delay_ms: int = key(U64, 2000, "Delay before both sides punch.")
    punch_interval_ms: int = key(U64, 200, "Time between punches.")
    punch_duration_ms: int = key(U64, 10000, "Time spent punching.")
    advert_ttl_secs: int = key(U64, 3600, "Life of an advert.")
    advert_refresh_secs: int = key(U64, 1800, "Time between adverts.")
    startup_sweep_delay_secs: int = key(U64, 5, "Policy `open`: wait before cached adverts are tried once.")
    startup_sweep_max_age_secs: int = key(U64, 3600, "Policy `open`: older adverts are left out of that.")
    failure_streak_threshold: int = key(U32, 5, "Failures in a row that lead to the long pause.")
    extended_cooldown_secs: int = key(U64, 1800, "That pause.")
    warn_log_interval_secs: int = key(U64, 300, "Least time between warnings about one peer.")
    failure_state_max_entries: int = key(U64, 4096, "Peers whose failures are remembered.")
    protocol_mismatch_cooldown_secs: int = key(U64, 86400, "Pause after a peer spoke another protocol version.")


class LanSection(Section):
    """Finding nodes on the local network by mDNS."""

    enabled: bool = key(BOOL, False, "Advertise and browse; needs a UDP transport.")
    service_type: str = key(TEXT, "_fips._udp.local.", "DNS-SD type, with the dot at the end.")
    scope: str | None = optional(TEXT, "Only nodes of the same scope are dialled. Unset: taken from `nostr.app`.")


class LanInterfacesSection(Section):
    """What this program alone knows about finding nodes on the local network."""

    interfaces: list[str] = key(
        TEXTS, [], "Names of the interfaces to advertise and browse on; empty for all that are Ethernet or Wi-Fi."
    )


class RendezvousSection(Section):
    """Ways to find peers."""

    nostr: NostrSection = block(NostrSection)
    lan: LanSection = block(LanSection)

    def lan_scope(self) -> str | None:
        """The scope published and compared on the local network (spec 05 section 5.8)."""
        if self.lan.scope and self.lan.scope.strip():
            return self.lan.scope.strip()
        app = self.nostr.app.strip()
        return app.removeprefix(f"{DEFAULT_APP}:").strip() or None


class DiscoverySection(Section):
    """`node.discovery`, the older spelling of `node.lookup` and `node.rendezvous`."""

    ttl: int | None = optional(U8, "")
    attempt_timeouts_secs: list[int] | None = optional(Many(U64), "")
    recent_expiry_secs: int | None = optional(U64, "")
    backoff_base_secs: int | None = optional(U64, "")
    backoff_max_secs: int | None = optional(U64, "")
    forward_min_interval_secs: int | None = optional(U64, "")
    nostr: Values | None = replaced(NostrSection, "")
    lan: Values | None = replaced(LanSection, "")
