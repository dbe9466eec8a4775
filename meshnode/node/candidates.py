"""Where peers may be reached, as several sources tell it, and how much each source wants them (spec 01 section 11).

A source is a name: the configuration, a discovery service, a transport that hears neighbours. What each of them tells
stands beside what the others tell, has an age of its own, and is replaced whole when the source speaks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from meshnode.identity import PeerIdentity

CONFIGURATION = "configuration"
ALWAYS = float("inf")
MAX_FOUND_PEERS = 1024
MAX_ADDRESSES = 8
"""Addresses kept per peer and source; those of the best priority stay."""

_NEVER_SEEN = float("-inf")


class Wish(IntEnum):
    """What a source wants of a peer it tells about; the strongest wish of all sources counts."""

    NONE = 0
    """Nothing: the addresses are there for whoever else wants the peer."""

    TRY = 1
    """A link, given up after `node.retry.max_retries` vain dials and not dialled again after a loss."""

    KEEP = 2
    """A link at all times: dialled for ever, and again after every loss."""


@dataclass(slots=True, frozen=True)
class PeerAddress:
    """Where a peer may be reached: a kind of transport, or `kind/instance`, and an address of its own form.

    Lower `priority` is tried first.
    """

    transport: str
    address: str
    priority: int = 100


@dataclass(slots=True)
class PeerConfig:
    """A peer this node knows from its operator."""

    identity: PeerIdentity
    addresses: list[PeerAddress]
    alias: str | None = None
    auto_connect: bool = True
    auto_reconnect: bool = True


@dataclass(slots=True)
class Candidate:
    """One address of a peer as one source tells it. Times are monotonic seconds.

    `tried` is set while it was dialled and no link has come of it, `proved` once there was a link with the peer there.
    """

    address: PeerAddress
    source: str
    seen: float
    expires: float
    tried: bool = False
    proved: bool = False

    @property
    def is_vouched(self) -> bool:
        """Whether more than the word of anybody on the network says that the peer is there."""
        return self.proved or self.source == CONFIGURATION


@dataclass(slots=True)
class KnownPeer:
    """Everything told about one peer, and how dialling it went.

    `vain` counts the attempts since the last link that lasted, `up_since` is set while there is a link. A `dismissed`
    peer was disconnected by the operator and is left alone by every source. `earned` is how many more copies may go to
    where nobody vouches for it.
    """

    identity: PeerIdentity
    configured: PeerConfig | None = None
    candidates: list[Candidate] = field(default_factory=list)
    wishes: dict[str, tuple[Wish, float]] = field(default_factory=dict)
    vain: int = 0
    up_since: float | None = None
    dismissed: bool = False
    earned: int = 0

    @property
    def name(self) -> str:
        alias = None if self.configured is None else self.configured.alias
        return alias or self.identity.short_npub

    def wish(self, now: float) -> Wish:
        """The strongest wish in force. The operator's word overrules every other source."""
        if self.dismissed:
            return Wish.NONE
        if self.configured is not None:
            return Wish.KEEP if self.configured.auto_connect else Wish.NONE
        return max((wish for wish, until in self.wishes.values() if now < until), default=Wish.NONE)

    def is_redialled(self, now: float) -> bool:
        """Whether a lost link to it is to be replaced."""
        return self.wish(now) is Wish.KEEP and (self.configured is None or self.configured.auto_reconnect)

    def replace(self, source: str, addresses: Iterable[PeerAddress], seen: float, expires: float) -> bool:
        """Take the word of `source` for what it now is; whether there is an address it had not told before."""
        before = {known.address: known for known in self.candidates if known.source == source}
        kept = sorted(addresses, key=lambda address: address.priority)[:MAX_ADDRESSES]
        mine = []
        for address in kept:
            known = before.get(address) or Candidate(address, source, seen, expires)
            known.seen, known.expires = seen, expires
            mine.append(known)
        self.candidates = [known for known in self.candidates if known.source != source] + mine
        return any(address not in before for address in kept)

    def add(self, source: str, address: PeerAddress, seen: float, expires: float) -> bool:
        """Take one more address from `source`, the one unseen for longest gives way; whether it is new."""
        mine = [known for known in self.candidates if known.source == source]
        for known in mine:
            if known.address == address:
                known.seen, known.expires = seen, expires
                return False
        if len(mine) >= MAX_ADDRESSES:
            self.candidates.remove(min(mine, key=lambda known: known.seen))
        self.candidates.append(Candidate(address, source, seen, expires))
        return True

    def expire(self, now: float) -> None:
        """Forget what has grown too old."""
        self.candidates = [known for known in self.candidates if now < known.expires]
        self.wishes = {source: wish for source, wish in self.wishes.items() if now < wish[1]}

    def in_turn(self) -> list[Candidate]:
        """Every address once, in the order to dial: the untried first, then by priority, then the latest sighting.

        A round that has tried everything starts over with the best.
        """
        if all(known.tried for known in self.candidates):
            self.forgive()
        ordered = sorted(self.candidates, key=lambda known: (known.tried, known.address.priority, -known.seen))
        once = {(known.address.transport, known.address.address): known for known in reversed(ordered)}
        return list(reversed(once.values()))

    def forgive(self) -> None:
        """Forget what was tried in vain."""
        for known in self.candidates:
            known.tried = False


class CandidateTable:
    """All known peers by node address. The configured ones always stay; of the others at most `MAX_FOUND_PEERS`."""

    def __init__(self) -> None:
        self._peers: dict[bytes, KnownPeer] = {}
        self.refused = 0

    def __iter__(self) -> Iterator[KnownPeer]:
        return iter(self._peers.values())

    def get(self, node_addr: bytes) -> KnownPeer | None:
        return self._peers.get(node_addr)

    def configure(self, config: PeerConfig) -> KnownPeer:
        """Take a peer from the operator."""
        peer = self._peers.setdefault(config.identity.node_addr, KnownPeer(config.identity))
        peer.configured = config
        peer.replace(CONFIGURATION, config.addresses, _NEVER_SEEN, ALWAYS)
        return peer

    def unconfigure(self, identity: PeerIdentity) -> bool:
        """The operator takes a peer back; whether it was one of his."""
        peer = self._peers.get(identity.node_addr)
        if peer is None or peer.configured is None:
            return False
        peer.configured = None
        peer.replace(CONFIGURATION, (), _NEVER_SEEN, ALWAYS)
        return True

    def wanted(self, source: str, identity: PeerIdentity, wish: Wish, until: float) -> KnownPeer | None:
        """The peer that `source` wants until the time `until`; None when there is no room for another one."""
        peer = self._peers.get(identity.node_addr)
        if peer is None:
            if not self._make_room(until):
                self.refused += 1
                return None
            peer = self._peers[identity.node_addr] = KnownPeer(identity)
        peer.wishes[source] = (wish, until)
        return peer

    def gone(self, source: str, identity: PeerIdentity) -> None:
        """`source` takes back all it told about a peer."""
        peer = self._peers.get(identity.node_addr)
        if peer is not None:
            peer.wishes.pop(source, None)
            peer.replace(source, (), _NEVER_SEEN, ALWAYS)

    def expire(self, now: float) -> None:
        """Forget addresses that have grown too old, and peers of whom nothing is left."""
        for node_addr, peer in list(self._peers.items()):
            peer.expire(now)
            if peer.configured is None and not peer.candidates and not peer.wishes and peer.up_since is None:
                del self._peers[node_addr]

    def _make_room(self, until: float) -> bool:
        """Whether one more found peer fits in, or is told for longer than one that has to give way."""
        found = [peer for peer in self._peers.values() if peer.configured is None]
        if len(found) < MAX_FOUND_PEERS:
            return True
        first = min(found, key=_end)
        if _end(first) >= until:
            return False
        del self._peers[first.identity.node_addr]
        return True


def _end(peer: KnownPeer) -> float:
    """When nothing told about `peer` is left; a connected one is kept as long as can be."""
    if peer.up_since is not None:
        return ALWAYS
    return max((known.expires for known in peer.candidates), default=0.0)
