"""End-to-end sessions and known identities as they are shown (spec 06 sections 3.6 and 3.17)."""

from __future__ import annotations

from typing import Any

from meshnode.mesh.session import CachedIdentity, Session

from .encoding import Answer
from .quality import session_quality
from .view import View


def show_sessions(view: View) -> Answer:
    return {"sessions": (_session_row(view, session) for session in list(view.node.sessions.sessions.values()))}


def _session_row(view: View, session: Session) -> dict[str, Any]:
    remote = session.remote or view.node.identities.peek_exact(session.address)
    return {
        "remote_addr": session.address.hex(),
        "display_name": view.name(session.address),
        "npub": "" if remote is None else remote.npub,
        "state": session.state.value,
        "is_initiator": session.is_initiator,
        "last_activity_ms": view.unix_ms(session.last_activity),
        "stats": {
            "packets_sent": session.packets_sent,
            "packets_recv": session.packets_received,
            "bytes_sent": session.bytes_sent,
            "bytes_recv": session.bytes_received,
        },
        **(_established(view, session) if session.established else {"resend_count": session.resend_count}),
    }


def _established(view: View, session: Session) -> dict[str, Any]:
    return {
        "session_start_ms": view.unix_ms(session.session_start),
        "current_k_bit": bool(session.k_bit),
        "coords_warmup_remaining": session.warmup_remaining,
        "is_draining": session.is_draining,
        "mmp": session_quality(session),
    }


def show_identity_cache(view: View) -> Answer:
    identities = view.node.identities
    return {
        "count": len(identities),
        "max_entries": identities.capacity,
        "entries": (_identity_row(view, entry) for entry in identities.entries()),
    }


def _identity_row(view: View, entry: CachedIdentity) -> dict[str, Any]:
    identity = entry.identity
    return {
        "node_addr": identity.node_addr.hex(),
        "npub": identity.npub,
        "display_name": view.name(identity.node_addr),
        "ipv6_addr": identity.ipv6_text,
        "last_seen_ms": view.unix_ms(entry.last_seen),
        "age_ms": view.age_ms(entry.last_seen),
    }
