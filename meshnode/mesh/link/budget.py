"""Which first messages are worth a public-key operation (spec 01 section 10.1).

Whoever can send datagrams can send first messages, as many as the wire carries and from as many addresses as can be
made up. Each costs us far more than its sender. So the work they may cause is bounded in total, and inside that total
every source has a share of its own: a flood uses up its own share and a newcomer elsewhere does not notice. All of this
lives in tables of constant size.
"""

from __future__ import annotations

from hashlib import blake2b

from meshnode.mesh.rate_limit import SourceBuckets, TokenBucket
from meshnode.mesh.settings import MeshSettings

from .events import Path

READING, ANSWERING = 1.0, 3.0
"""What reading a first message costs, and what answering a good one costs on top, in units of about 0.1 ms."""

LEAST_WORK_PER_SECOND, LEAST_WORK_AT_ONCE = 1200.0, 600.0
SPARE_WORK_PER_SECOND, SPARE_WORK_AT_ONCE = 400.0, 200.0
ADDRESS_BURST, ADDRESS_RATE = 4.0, 0.5
PEER_BURST, PEER_RATE = 16.0, 2.0
REFUSAL = 0.05
"""Seconds for which the address refused last is refused without another look."""

_GROUPS_OF_A_SITE = 4


def source_of(path: Path) -> bytes:
    """Who is behind a path as far as can be told: a host without its port, an IPv6 site (/64) without its hosts."""
    address = path[1]
    if not address.startswith("["):
        return (address.rpartition(":")[0] or address).encode()
    groups = address[1:].partition("::")[0].split(":")
    return ":".join(groups[:_GROUPS_OF_A_SITE]).encode()


class HandshakeBudget:
    """Decides, before any cryptography, whether a first message is looked at.

    A stranger's is when its source has not used up `handshake_burst` and `handshake_rate`. Behind one address many may
    live, an attacker among them: so an exact address that has been quiet is given a chance from a small separate
    budget. `answered` charges the rest of the work once a message turned out to be good.
    """

    def __init__(self, settings: MeshSettings, secret: bytes, now: float) -> None:
        """`secret` keeps senders from choosing whose slots they share."""
        rates = settings.rate_limit
        burst, rate = float(rates.handshake_burst), float(rates.handshake_rate)
        salt = blake2b(b"first messages", digest_size=16, key=secret).digest()
        whole = READING + ANSWERING
        self._sources = SourceBuckets(max(burst, 2.0), rate, salt, now)
        self._addresses = SourceBuckets(ADDRESS_BURST, ADDRESS_RATE, salt, now)
        self._peers = SourceBuckets(PEER_BURST, PEER_RATE, salt, now)
        self._work = TokenBucket(max(LEAST_WORK_AT_ONCE, burst * whole), max(LEAST_WORK_PER_SECOND, rate * whole), now)
        self._spare = TokenBucket(SPARE_WORK_AT_ONCE, SPARE_WORK_PER_SECOND, now)
        self._established = _established_bucket(settings, now)
        self._charged = self._work
        self._refused: tuple[Path, float] = ((0, ""), 0.0)

    def stranger(self, path: Path, now: float) -> bool:
        """Whether to read a first message from an address without a link."""
        if path == self._refused[0] and now < self._refused[1]:
            return False  # the usual case in a flood
        if self._sources.allow(source_of(path), now):
            self._charged = self._work
        elif self._addresses.allow(path[1].encode(), now):
            self._charged = self._spare
        else:
            self._refused = (path, now + REFUSAL)
            return False
        return self._charged.allow(now)

    def peer(self, path: Path, now: float) -> bool:
        """Whether to read a first message that comes, or claims to come, from where a peer of ours is."""
        self._charged = self._established
        return self._peers.allow(path[1].encode(), now) and self._established.allow(now)

    def answered(self) -> None:
        """The message last admitted was good and is answered."""
        if self._charged is not self._established:
            self._charged.tokens -= ANSWERING


def _established_bucket(settings: MeshSettings, now: float) -> TokenBucket:
    """The bucket for first messages from addresses that already have a link (spec 01 section 10.1)."""
    limits, rates = settings.limits, settings.rate_limit
    burst, rate = rates.established_handshake_burst, rates.established_handshake_rate
    if limits.max_peers == 0:
        return TokenBucket(burst or rates.handshake_burst, rate or rates.handshake_rate, now)
    cycles = limits.max_peers / max(settings.rekey.after_secs, 1) * (1 + rates.handshake_max_resends)
    return TokenBucket(burst or limits.max_peers, rate or max(1.0, cycles), now)
