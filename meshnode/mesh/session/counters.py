"""Counters of the session layer, named as they are published (spec 02 section 17)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SessionCounters:
    """The session family."""

    unknown_session: int = 0
    bad_state: int = 0
    addr_mismatch: int = 0
    rekey_key_mismatch: int = 0
    rekey_armed: int = 0
    rekey_tiebreak: int = 0
    rekey_yielded: int = 0
    rekey_pending: int = 0
    rekey_expired: int = 0
    pending_replaced: int = 0
    ack_handshake_failed: int = 0
    setup_rate_limited: int = 0
    crowded_out: int = 0
    malformed: int = 0
    undecryptable: int = 0


@dataclass(slots=True)
class ErrorCounters:
    """The error-signal family, as far as sessions count it."""

    coords_required: int = 0
    path_broken: int = 0
    mtu_exceeded: int = 0
    path_mtu_notif_below_floor: int = 0
    mtu_exceeded_below_floor: int = 0
    unbound_coords: int = 0
    unbound_broken: int = 0
    unbound_mtu: int = 0
    unbound_forged: int = 0
