"""How much may be sent to addresses that only an advert or a beacon names, and from which nobody has answered yet.

Whoever forges such word chooses where our first messages go. So each hearing earns a few copies, as many as keep what
leaves within three times what was heard; an address gets a few more, lest one lost copy keep an honest node out until
it is heard again; and beyond that nothing is repeated. Whatever is earned, there is a bound for each host that is named
and one for all of them. All of this lives in tables of constant size.
"""

from __future__ import annotations

from hashlib import blake2b

from meshnode.mesh.rate_limit import SourceBuckets, TokenBucket

from .candidates import KnownPeer

ADVERT_COPIES = 3
"""What an mDNS advert earns. With its key, scope and address it takes at least 122 bytes, however it is packed, and 142
with where its service is; a first message takes 114."""

BEACON_COPIES = 1
"""What a beacon earns: a frame of 60 bytes on the wire, and 131 with a first message in it."""

MOST_EARNED = 6

EXTRA_BURST, EXTRA_RATE = 4.0, 4.0 / 120.0
MOST_EXTRA_AT_ONCE, MOST_EXTRA_PER_SEC = 64.0, 1.0
"""Copies beyond what was earned: to one host, and to all of them."""

HOST_BURST, HOST_RATE = 16.0, 1.0
MOST_AT_ONCE, MOST_PER_SEC = 256.0, 32.0
"""Copies whether earned or not: to one host, by however many peers it is named, and to all of them."""


class Hearsay:
    """Decides about each copy. `secret` keeps others from choosing which hosts share a bucket."""

    def __init__(self, secret: bytes) -> None:
        salt = blake2b(b"hearsay", digest_size=16, key=secret).digest()
        self._extra = SourceBuckets(EXTRA_BURST, EXTRA_RATE, salt, 0.0)
        self._all_extra = TokenBucket(MOST_EXTRA_AT_ONCE, MOST_EXTRA_PER_SEC, 0.0)
        self._hosts = SourceBuckets(HOST_BURST, HOST_RATE, salt, 0.0)
        self._all = TokenBucket(MOST_AT_ONCE, MOST_PER_SEC, 0.0)

    @staticmethod
    def heard(peer: KnownPeer, copies: int) -> None:
        """Somebody spoke of `peer`, which earns it so many copies."""
        peer.earned = min(peer.earned + copies, MOST_EARNED)

    def allow(self, peer: KnownPeer, address: str, now: float) -> bool:
        """Whether one more copy of something may go to `address` for `peer`; if so, it is charged."""
        host = host_of(address).encode()
        if not peer.earned and not (self._all_extra.allow(now) and self._extra.allow(host, now)):
            return False
        if not (self._hosts.allow(host, now) and self._all.allow(now)):
            return False
        peer.earned = max(peer.earned - 1, 0)
        return True


def host_of(address: str) -> str:
    """Whom an address of any transport hits: an IP address without its port, a station on a wire as it is."""
    return address if "/" in address else address.rpartition(":")[0] or address
