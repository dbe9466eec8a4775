"""How many SessionSetups are answered (spec 02 section 6.5).

Sources of datagrams can be forged, link peers cannot: so it is the link peer a Setup came through whose buckets pay.
Two thoughts go beyond the specification. What an answer costs adds up over all neighbours, so there is a bucket of
everybody as well, and its lower part is kept for neighbours that ask for little. And whoever makes names up does not
make up those we know, so known sources have a bucket of their own and need not take turns with inventions.
"""

from __future__ import annotations

from enum import Enum

from meshnode.mesh.rate_limit import IntervalLimiter, TokenBucket
from meshnode.mesh.settings import MeshSettings, RateLimitSettings

FORGET_AFTER = 300.0
MAX_LINKS = 4096

EVERYBODY = 2
"""Neighbours that may ask for all they are allowed at the same time."""

MODEST_BURST, MODEST_RATE = 64.0, 16.0
"""What a neighbour may ask for out of the part that others have to leave."""

NAME_INTERVAL = 0.5
"""Seconds between Setups of one known source, through one neighbour, that count as its own."""


class Source(Enum):
    """What we know about the address that a Setup claims to be from."""

    STRANGER = "stranger"
    KNOWN = "known"
    ESTABLISHED = "established"


class _Buckets:
    __slots__ = ("established", "known", "modest", "stranger", "used")

    def __init__(self, stranger: tuple[float, float], established: tuple[float, float], now: float) -> None:
        burst, rate = stranger
        self.stranger = TokenBucket(burst, rate, now)
        self.known = TokenBucket(max(1.0, burst / 2), rate / 2, now)
        self.modest = TokenBucket(MODEST_BURST, MODEST_RATE, now)
        self.established = TokenBucket(*established, now)
        self.used = now


class SetupLimiter:
    """Token buckets per link peer for strangers, known sources and remotes with a session, and one for everybody."""

    __slots__ = ("_established", "_everybody", "_links", "_names", "_stranger")

    def __init__(self, settings: MeshSettings) -> None:
        limits, usual = settings.rate_limit, RateLimitSettings()
        self._stranger = (float(limits.session_setup_burst), float(limits.session_setup_rate))
        self._established = self._stranger
        max_peers = settings.limits.max_peers
        if max_peers > 0:
            rekeys = max_peers / max(settings.rekey.after_secs, 1)
            self._established = (float(max_peers), max(1.0, rekeys * (1 + limits.handshake_max_resends)))
        burst = max(limits.session_setup_burst, usual.session_setup_burst)
        rate = max(limits.session_setup_rate, usual.session_setup_rate)
        self._everybody = TokenBucket(EVERYBODY * burst, EVERYBODY * rate, 0.0)
        self._links: dict[bytes, _Buckets] = {}  # least recently used first
        self._names: IntervalLimiter[tuple[bytes, bytes]] = IntervalLimiter(NAME_INTERVAL, NAME_INTERVAL)

    def __len__(self) -> int:
        return len(self._links)

    def allow(self, link_peer: bytes, address: bytes, source: Source, now: float, sparing: bool = False) -> bool:
        """Take one token; False when the Setup is to be dropped unseen.

        `sparing` is for a table of sessions that fills: strangers then get what a modest neighbour asks for, no more.
        """
        buckets = self._buckets(link_peer, now)
        if source is Source.ESTABLISHED:
            return buckets.established.allow(now)
        if source is Source.KNOWN and self._allow_known(buckets, link_peer, address, now):
            return True
        return self._allow_stranger(buckets, now, sparing)

    def _buckets(self, link_peer: bytes, now: float) -> _Buckets:
        buckets = self._links.pop(link_peer, None)
        if buckets is None:
            if len(self._links) >= MAX_LINKS:
                del self._links[next(iter(self._links))]
            buckets = _Buckets(self._stranger, self._established, now)
        self._links[link_peer] = buckets
        buckets.used = now
        return buckets

    def _allow_known(self, buckets: _Buckets, link_peer: bytes, address: bytes, now: float) -> bool:
        """A known source has a turn of its own now and then; beyond that it may still be answered as a stranger is."""
        buckets.known.refill(now)
        if not self._affordable(buckets.known, 0.25, now) or not self._names.allow((link_peer, address), now):
            return False
        self._pay(buckets.known)
        return True

    def _allow_stranger(self, buckets: _Buckets, now: float, sparing: bool) -> bool:
        buckets.stranger.refill(now)
        buckets.modest.refill(now)
        modest = buckets.modest.tokens >= 1.0
        if (sparing and not modest) or not self._affordable(buckets.stranger, 0.0 if modest else 0.5, now):
            return False
        self._pay(buckets.stranger)
        if modest:
            buckets.modest.tokens -= 1.0
        return True

    def _affordable(self, bucket: TokenBucket, spared: float, now: float) -> bool:
        """Whether `bucket` has a token, and everybody's has one above the part of it that is left to others."""
        everybody = self._everybody
        everybody.refill(now)
        return bucket.tokens >= 1.0 and everybody.tokens >= 1.0 + spared * everybody.burst

    def _pay(self, bucket: TokenBucket) -> None:
        bucket.tokens -= 1.0
        self._everybody.tokens -= 1.0

    def prune(self, now: float) -> None:
        """Forget links that sent no Setup for a while."""
        for link_peer in [peer for peer, buckets in self._links.items() if now - buckets.used >= FORGET_AFTER]:
            del self._links[link_peer]
