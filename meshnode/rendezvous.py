"""The ways of finding peers that a configuration turns on, and what they and the node tell each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from meshnode.config.schema import Config
from meshnode.discovery.interfaces import DiscoveryError, IDiscovery, IDiscoveryHost, Whereabouts
from meshnode.identity import PeerIdentity
from meshnode.node.core import Node
from meshnode.node.events import PeerRemoved, Record
from meshnode.node.hearsay import ADVERT_COPIES
from meshnode.node.peering import PeerAddress


@implementer(IDiscoveryHost)
class DiscoveryHost:
    """A node, as its discovery services see it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.public_key = node.identity.peer.xonly

    def candidates_found(
        self, source: str, identity: PeerIdentity, whereabouts: list[Whereabouts], lifetime: float, heard: bool
    ) -> None:
        addresses = [PeerAddress(*place) for place in whereabouts if self._is_dialled(place)]
        peering, copies = self._node.peering, ADVERT_COPIES if heard else 0
        self._node.run(
            lambda now: peering.candidates_found(source, identity, addresses, now, lifetime=lifetime, copies=copies)
        )

    def _is_dialled(self, place: Whereabouts) -> bool:
        """Whether there is a transport for an address: one of the other family would only ever fail."""
        return self._node.transports.choose(place.transport, place.address) is not None

    def candidates_gone(self, source: str, identity: PeerIdentity) -> None:
        self._node.run(lambda now: self._node.peering.candidates_gone(source, identity))


class Rendezvous:
    """Starts and stops discovery services, and passes on to them what happens."""

    def __init__(self, node: Node, config: Config, reactor: Any) -> None:
        self._node = node
        self._config = config
        self._reactor = reactor
        self._services: list[IDiscovery] = []
        self._unsubscribe: Callable[[], None] = node.events.subscribe(self._happened)

    def start(self) -> list[str]:
        """Start what is turned on and does not run yet; returns one line for each service that cannot start."""
        problems = []
        host = DiscoveryHost(self._node)
        for make in [] if self._services else self._makers():
            try:
                service = make(host)
                service.start()
            except DiscoveryError as error:
                problems.append(str(error))
            else:
                self._services.append(service)
        return problems

    def _makers(self) -> list[Callable[[IDiscoveryHost], IDiscovery]]:
        return [self._lan] if self._config.node.rendezvous.lan.enabled else []

    def _lan(self, host: IDiscoveryHost) -> IDiscovery:
        from meshnode.discovery.lan import LanDiscovery, LanSettings

        rendezvous = self._config.node.rendezvous
        interfaces = tuple(self._config.meshnode.lan.interfaces)
        settings = LanSettings(rendezvous.lan.service_type, rendezvous.lan_scope(), interfaces)
        return LanDiscovery(host, self._reactor, settings, self._udp_address)

    def _udp_address(self) -> str | None:
        """Where the first udp transport that is up is bound."""
        rows = sorted(self._node.transports, key=lambda transport: transport.transport_id)
        return next((row.local_address for row in rows if row.kind == "udp" and row.state == "up"), None)

    def network_changed(self) -> None:
        for service in self._services:
            service.network_changed()

    def _happened(self, record: Record) -> None:
        if isinstance(record.event, PeerRemoved) and self._services:
            identity = PeerIdentity.from_npub(record.event.npub)
            for service in self._services:
                service.peer_lost(identity)

    async def stop(self) -> None:
        """Stop all services."""
        self._unsubscribe()
        services, self._services = self._services, []
        for ending in [service.stop() for service in services]:
            if isinstance(ending, Deferred):
                await ending
