"""Which keys a running node takes from the file when it is told to read it again; all others wait for a restart."""

from __future__ import annotations

from typing import Final

LIVE: Final = (
    "node.log_level",
    "node.limits",
    "node.rate_limit.handshake_burst",
    "node.rate_limit.handshake_rate",
    "node.rate_limit.handshake_timeout_secs",
    "node.rate_limit.handshake_resend_interval_ms",
    "node.rate_limit.handshake_resend_backoff",
    "node.rate_limit.handshake_max_resends",
    "node.rate_limit.established_handshake_burst",
    "node.rate_limit.established_handshake_rate",
    "node.retry",
    "node.rekey",
    "peers",
    "transports",
    "gateway",
    "meshnode.access",
    "meshnode.capture",
    "meshnode.gateway",
    "meshnode.hooks",
    "meshnode.log.levels",
)
"""Keys and whole sections. The hosts file and the access lists themselves are followed without being told."""


def is_live(path: str) -> bool:
    """Whether the key at a dotted path takes effect at a reload."""
    return any(path == live or path.startswith(f"{live}.") for live in LIVE)
