"""Finds nodes on the local network, and is found there, by mDNS (spec 04b section 1).

The reference dials once per advert and never again. Here every advert stands in a table for as long as its record
lives, the node's peering policy redials from it at a bounded rate, and the network is asked again now and then, and
whenever a peer that was found here is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from meshnode.identity import PeerIdentity
from meshnode.transports.addresses import HostName, SocketAddress, parse_address
from meshnode.transports.complaints import Complaints

from .interfaces import DiscoveryError, IDiscovery, IDiscoveryHost
from .lan_interfaces import LanInterface, interfaces_of_this_machine, reachable
from .lan_service import LanListener, Presence, Service
from .lan_table import Advert, LanTable

LIFETIME_SECS = 4500.0
"""How long an advert is believed: the life of its pointer record, renewed whenever the network is asked again."""

REVIEW_SECS = 60.0
"""How often the interfaces are looked at when nobody says that they changed."""

SETTLE_SECS = 1.0
"""How long after such word they are looked at: addresses come in groups."""

ASK_SECS = 300.0
"""How often the network is asked again when nothing happens."""

LEAST_ASK_SECS = 15.0

_log = Logger()


@dataclass(frozen=True, slots=True)
class LanSettings:
    """`node.rendezvous.lan` (spec 05 section 5.8), and the interfaces to use, none for all that look like a LAN."""

    service_type: str = "_fips._udp.local."
    scope: str | None = "fips-overlay-v1"
    interfaces: tuple[str, ...] = ()


class Network(Protocol):
    """Multicast DNS on this machine."""

    def be_on(self, presences: list[Presence]) -> None:
        """Advertise and browse on these interfaces and no others, from soon on."""

    def browse_anew(self) -> None:
        """Ask again who is there, on every interface; who is known already is told again."""

    def close(self) -> Deferred[None]:
        """Say goodbye everywhere and end."""


def multicast_dns(reactor: Any, service: Service, listener: LanListener) -> Network:
    """Return the real thing. Raises ImportError without zeroconf."""
    from meshnode.asyncio_bridge import bridge_of
    from meshnode.discovery.mdns import Mdns

    return Mdns(bridge_of(reactor), service, listener)


@implementer(IDiscovery)
class LanDiscovery:
    """mDNS on any reactor.

    `bound()` tells the address of the udp transport that is to be found, None when there is none. `network` and
    `interfaces` say where multicast DNS and the interfaces of this machine come from. The constructor raises
    `DiscoveryError` when zeroconf is missing.
    """

    source = "lan"

    def __init__(
        self,
        host: IDiscoveryHost,
        reactor: Any,
        settings: LanSettings,
        bound: Callable[[], str | None],
        network: Callable[[Any, Service, LanListener], Network] = multicast_dns,
        interfaces: Callable[[tuple[str, ...]], list[LanInterface]] = interfaces_of_this_machine,
    ) -> None:
        own = PeerIdentity(host.public_key)
        self._host = host
        self._reactor = reactor
        self._chosen = settings.interfaces
        self._bound = bound
        self._interfaces = interfaces
        self._table = LanTable(own, settings.scope)
        self._complaints = Complaints(_log, reactor.seconds)
        self._presences: list[Presence] = []
        self._timer: IDelayedCall | None = None
        self._review_at = self._ask_at = self._asked_at = float("-inf")
        self._stopped = False
        try:
            self._network = network(reactor, Service.of(own, settings.service_type, settings.scope), self)
        except ImportError as error:
            raise DiscoveryError(f"node.rendezvous.lan needs {error.name}: pip install meshnode[lan]") from error

    # -- life

    def start(self) -> None:
        """Advertise and browse from now on. Raises `DiscoveryError` when no udp transport could be found by it."""
        if self._bound() is None:
            raise DiscoveryError("node.rendezvous.lan needs a udp transport: there is nothing to advertise without one")
        now = self._reactor.seconds()
        self._asked_at = now
        self._ask_at = now + ASK_SECS
        self._review(now)
        self._arm(now)

    def stop(self) -> Deferred[None]:
        """Say goodbye on every interface."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return self._network.close()

    def network_changed(self) -> None:
        """Look at the interfaces soon."""
        self._schedule(review_at=self._reactor.seconds() + SETTLE_SECS)

    def peer_lost(self, identity: PeerIdentity) -> None:
        """Ask again for somebody who was found here; it may be somewhere else by now."""
        if self._table.knows(identity):
            self._schedule(ask_at=max(self._reactor.seconds(), self._asked_at + LEAST_ASK_SECS))

    # -- time

    def _schedule(self, review_at: float = float("inf"), ask_at: float = float("inf")) -> None:
        if not self._stopped:
            self._review_at, self._ask_at = min(self._review_at, review_at), min(self._ask_at, ask_at)
            self._arm(self._reactor.seconds())

    def _arm(self, now: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(max(0.0, min(self._review_at, self._ask_at) - now), self._on_timer)

    def _on_timer(self) -> None:
        now = self._reactor.seconds()
        if now >= self._review_at:
            self._review(now)
        if now >= self._ask_at:
            self._asked_at, self._ask_at = now, now + ASK_SECS
            self._network.browse_anew()
        self._arm(now)

    def _review(self, now: float) -> None:
        """Be on the interfaces that there are now; those that gave trouble are tried again."""
        self._review_at = now + REVIEW_SECS
        try:
            presences = self._present()
        except OSError as error:
            self._complaints.warn("cannot list the interfaces for", "LAN discovery", error.strerror or str(error))
            return
        if presences != self._presences:
            names = ", ".join(presence.interface.name for presence in presences) or "no interface"
            _log.info("LAN discovery on {names}", names=names)
        self._presences = presences
        self._network.be_on(presences)

    def _present(self) -> list[Presence]:
        text = self._bound()
        bound = None if text is None else parse_address(text)
        if bound is None or isinstance(bound, HostName):
            return []
        everywhere = (_presence(interface, bound) for interface in self._interfaces(self._chosen))
        return [presence for presence in everywhere if presence.addresses]

    # -- what is heard (`LanListener`)

    def seen(self, advert: Advert) -> None:
        """Take an advert."""
        self._tell(self._table.seen(advert), self._table.is_news(advert))

    def gone(self, interface: str, instance: str) -> None:
        """Forget who said goodbye or fell silent; a link with it stays."""
        self._tell(self._table.gone(interface, instance))

    def left(self, interface: str) -> None:
        """Forget who was seen on an interface that is no more."""
        self._tell(self._table.left(interface))

    def trouble(self, interface: str, cause: str) -> None:
        """Tell the operator; the next review tries again."""
        self._complaints.warn("LAN discovery does not work on", interface, cause)

    def _tell(self, peers: Iterable[PeerIdentity], heard: bool = False) -> None:
        if self._stopped:
            return
        for identity in peers:
            whereabouts = self._table.whereabouts(identity)
            if whereabouts:
                self._host.candidates_found(self.source, identity, whereabouts, LIFETIME_SECS, heard)
            else:
                self._host.candidates_gone(self.source, identity)


def _presence(interface: LanInterface, bound: SocketAddress) -> Presence:
    return Presence(interface, bound[1], reachable(interface.addresses, bound))
