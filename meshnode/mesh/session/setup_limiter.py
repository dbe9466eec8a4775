"""How many SessionSetups are answered (spec 02 section 6.5).

Sources of datagrams can be forged, link peers cannot: so it is the link peer a Setup came through whose bucket pays.
"""

from __future__ import annotations

from meshnode.mesh.rate_limit import TokenBucket
from meshnode.mesh.settings import MeshSettings

FORGET_AFTER = 300.0
MAX_LINKS = 4096


class _Buckets:
    __slots__ = ("established", "stranger", "used")

    def __init__(self, stranger: TokenBucket, established: TokenBucket, now: float) -> None:
        self.stranger = stranger
        self.established = established
        self.used = now


class SetupLimiter:
    """Two token buckets per link peer: one for strangers, one for remotes with an established session."""

    __slots__ = ("_established", "_links", "_stranger")

    def __init__(self, settings: MeshSettings) -> None:
        limits = settings.rate_limit
        self._stranger = (float(limits.session_setup_burst), float(limits.session_setup_rate))
        self._established = self._stranger
        max_peers = settings.limits.max_peers
        if max_peers > 0:
            rekeys = max_peers / max(settings.rekey.after_secs, 1)
            self._established = (float(max_peers), max(1.0, rekeys * (1 + limits.handshake_max_resends)))
        self._links: dict[bytes, _Buckets] = {}  # least recently used first

    def __len__(self) -> int:
        return len(self._links)

    def allow(self, link_peer: bytes, established: bool, now: float) -> bool:
        """Take one token; False when the Setup is to be dropped unseen."""
        buckets = self._links.pop(link_peer, None)
        if buckets is None:
            if len(self._links) >= MAX_LINKS:
                del self._links[next(iter(self._links))]
            buckets = _Buckets(TokenBucket(*self._stranger, now), TokenBucket(*self._established, now), now)
        self._links[link_peer] = buckets
        buckets.used = now
        return (buckets.established if established else buckets.stranger).allow(now)

    def prune(self, now: float) -> None:
        """Forget links that sent no Setup for a while."""
        for link_peer in [peer for peer, buckets in self._links.items() if now - buckets.used >= FORGET_AFTER]:
            del self._links[link_peer]
