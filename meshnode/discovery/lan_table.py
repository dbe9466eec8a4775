"""Who is on the local network, as adverts told: whom to believe, and where each may be (spec 04b section 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from meshnode.identity import IdentityError, PeerIdentity

from .interfaces import Whereabouts

MOST_INSTANCES = 256
MOST_ADDRESSES = 8
MOST_REMEMBERED = 4 * MOST_INSTANCES
PRIORITY = 50
"""Before configured addresses, which have 100 by default: nothing is nearer than the local network."""

_LINK_LOCAL_PRIORITY = 60


@dataclass(frozen=True, slots=True)
class Advert:
    """One instance of the service as it was resolved on one interface.

    Addresses are numeric; link-local IPv6 ones carry their scope, as in `fe80::1%eth0`. `heard` is when all of it had
    last been said, by any clock that does not go back.
    """

    interface: str
    instance: str
    npub: str | None
    scope: str | None
    port: int
    addresses: tuple[str, ...]
    heard: float = 0.0


@dataclass(frozen=True, slots=True)
class _Entry:
    identity: PeerIdentity
    whereabouts: tuple[Whereabouts, ...]


class _Refused(Exception):
    """An advert is not for us or cannot be used; the text names the cause in one word."""


class LanTable:
    """The adverts in force, by interface and instance. `refused` counts those that were not believed, by cause."""

    def __init__(self, own: PeerIdentity, scope: str | None) -> None:
        self._own = own
        self._scope = scope
        self._entries: dict[tuple[str, str], _Entry] = {}
        self.refused: dict[str, int] = {}
        self._last_heard: dict[tuple[str, str], float] = {}

    def is_news(self, advert: Advert) -> bool:
        """Whether an advert was heard since this was asked of its instance before; what is cached is told again, too.

        That outlives a goodbye, which with one more pointer record would make the same advert look new for a few bytes.
        """
        key = (advert.interface, advert.instance)
        before = self._last_heard.pop(key, float("-inf"))
        self._last_heard[key] = max(before, advert.heard)
        if len(self._last_heard) > MOST_REMEMBERED:
            del self._last_heard[next(iter(self._last_heard))]
        return advert.heard > before

    def seen(self, advert: Advert) -> list[PeerIdentity]:
        """Take an advert, in place of what its instance told before; returns whom it concerns."""
        key = (advert.interface, advert.instance)
        before = self._entries.pop(key, None)
        entry = self._judge(advert)
        if entry is not None:
            self._entries[key] = entry
        return list(dict.fromkeys(found.identity for found in (before, entry) if found is not None))

    def gone(self, interface: str, instance: str) -> list[PeerIdentity]:
        """Forget an instance that said goodbye or fell silent; returns whom it concerns."""
        entry = self._entries.pop((interface, instance), None)
        return [] if entry is None else [entry.identity]

    def left(self, interface: str) -> list[PeerIdentity]:
        """Forget everybody seen on an interface; returns whom it concerns."""
        keys = [key for key in self._entries if key[0] == interface]
        return list(dict.fromkeys(self._entries.pop(key).identity for key in keys))

    def whereabouts(self, identity: PeerIdentity) -> list[Whereabouts]:
        """All addresses of `identity` that adverts name, each once, the nearest first; none when nobody tells of it."""
        entries = [entry for entry in self._entries.values() if entry.identity == identity]
        told = dict.fromkeys(place for entry in entries for place in entry.whereabouts)
        return sorted(told, key=lambda place: place.priority)[:MOST_ADDRESSES]

    def knows(self, identity: PeerIdentity) -> bool:
        return any(entry.identity == identity for entry in self._entries.values())

    def _judge(self, advert: Advert) -> _Entry | None:
        """What is to be believed of an advert; None for nothing, which is counted."""
        try:
            entry = self._believable(advert)
        except (IdentityError, _Refused) as refusal:
            cause = str(refusal) if isinstance(refusal, _Refused) else "npub"
            self.refused[cause] = self.refused.get(cause, 0) + 1
            return None
        return entry

    def _believable(self, advert: Advert) -> _Entry:
        """What an advert says; raises `IdentityError` or `_Refused` when that is not for us or cannot be."""
        identity = PeerIdentity.from_npub(advert.npub or "")
        if identity == self._own:
            raise _Refused("own")
        if self._scope is not None and advert.scope != self._scope:
            raise _Refused("scope")
        if len(self._entries) >= MOST_INSTANCES:
            raise _Refused("full")
        whereabouts = tuple(_whereabouts(advert, identity))
        if not whereabouts:
            raise _Refused("address")
        return _Entry(identity, whereabouts)


def _whereabouts(advert: Advert, identity: PeerIdentity) -> Iterator[Whereabouts]:
    """Addresses of an advert that a datagram could be sent to, in the form of the udp transport."""
    if not 0 < advert.port < 65536:
        return
    for text in advert.addresses:
        try:
            address = ip_address(text)
        except ValueError:
            continue
        # A loopback address is somebody else's own; a mesh address leads into the mesh, not to its carrier.
        if address.is_loopback or address.is_unspecified or address.is_multicast or address.packed == identity.ipv6:
            continue
        yield from _place(address, advert.port)


def _place(address: IPv4Address | IPv6Address, port: int) -> Iterator[Whereabouts]:
    if isinstance(address, IPv4Address):
        yield Whereabouts("udp", f"{address}:{port}", PRIORITY)
    elif not address.is_link_local:
        yield Whereabouts("udp", f"[{address}]:{port}", PRIORITY)
    elif address.scope_id:
        yield Whereabouts("udp", f"[{address}]:{port}", _LINK_LOCAL_PRIORITY)
