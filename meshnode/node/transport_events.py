"""What a node hears of the network besides frames: from its transports (`ITransportHost`) and from the machine."""

from __future__ import annotations

from collections.abc import Callable

from meshnode.identity import Identity, IdentityError, PeerIdentity
from meshnode.mesh.link import LinkLayer
from meshnode.transports.interfaces import ITransport

from .connections import Connections
from .events import EventHub, TransportState
from .names import Names
from .path_mtus import PathMtus
from .peering import PeerAddress, Peering
from .surroundings import Surroundings

NEIGHBOUR_SECS = 120.0
"""How long a neighbour that a transport saw counts as being there; those that announce themselves do so every 30 s."""


class TransportEvents:
    """The part of a node that hears of connections, transports and neighbours that come and go."""

    connections: Connections
    events: EventHub
    identity: Identity
    links: LinkLayer
    names: Names
    path_mtus: PathMtus
    peering: Peering
    world: Surroundings

    @property
    def public_key(self) -> bytes:
        return self.identity.peer.xonly

    def run(self, action: Callable[[float], None]) -> None:
        """Do `action(now)` to a machine from outside, and deliver what comes of it."""
        raise NotImplementedError

    def network_changed(self) -> None:
        """An interface, an address or a route of this machine came or went: show the peers where we are, dial anew."""
        self.run(self._network_changed)

    def _network_changed(self, now: float) -> None:
        self.links.show_ourselves(now)
        self.peering.surroundings_changed(now)

    def connected(self, transport: ITransport, address: str) -> None:
        self.run(lambda now: self._connected(transport, address, now))

    def _connected(self, transport: ITransport, address: str, now: float) -> None:
        self.connections.opened((transport.transport_id, address), now)
        self.path_mtus.promise_changed(transport.transport_id, address, now)

    def connect_failed(self, transport: ITransport, address: str, cause: str) -> None:
        self.run(lambda now: self.connections.failed((transport.transport_id, address), cause, now))

    def connection_lost(self, transport: ITransport, address: str, cause: str, dialled: bool) -> None:
        self.run(lambda now: self._connection_lost(transport, address, cause, dialled))

    def _connection_lost(self, transport: ITransport, address: str, cause: str, dialled: bool) -> None:
        peer = self.connections.lost((transport.transport_id, address), cause, dialled)
        if peer is not None:
            name = self.names.display(peer.node_addr)
            self.world.log("info", f"{transport.kind} connection of {name} at {address} lost: {cause}")

    def carries_link(self, transport: ITransport, address: str) -> bool:
        return self.links.peer_at((transport.transport_id, address)) is not None

    def mtu_changed(self, transport: ITransport, address: str | None) -> None:
        self.run(lambda now: self.path_mtus.promise_changed(transport.transport_id, address, now))

    def state_changed(self, transport: ITransport, cause: str) -> None:
        self.run(lambda now: self._state_changed(transport, cause, now))

    def _state_changed(self, transport: ITransport, cause: str, now: float) -> None:
        state = TransportState(carrier_name(transport), transport.state, cause)
        self.events.publish(state)
        if transport.state == "up":
            self.connections.transport_back(transport, now)
            self.peering.surroundings_changed(now)
        else:
            self.connections.transport_gone(transport, state.text())

    def neighbour_found(self, transport: ITransport, address: str, public_key: bytes) -> None:
        try:
            identity = PeerIdentity(public_key)
        except IdentityError:
            return
        where = PeerAddress(carrier_name(transport), address)
        self.run(lambda now: self.peering.neighbour_found(where.transport, identity, where, now, NEIGHBOUR_SECS))


def carrier_name(transport: ITransport) -> str:
    """What a transport is called where one of several is meant."""
    return transport.kind if transport.name is None else f"{transport.kind}/{transport.name}"
