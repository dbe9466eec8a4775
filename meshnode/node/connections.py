"""The connections under the links: lost ones are opened again, idle ones closed (spec 04 section 1.4).

A link outlives its connection: the keys stay, and the first frame over the next connection carries on.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.mesh.link import LinkLayer, Path, PeerLink
from meshnode.transports.interfaces import ITransport

from .better_paths import BetterPaths
from .path_choice import PathChoice
from .peering import Peering
from .transports import TransportTable

IDLE_SECS = 5.0
IDLE_INBOUND_SECS = 30.0
"""How long an open connection may serve nobody: one we dialled; an accepted one, whose first message may be slow."""

_FIRST_PAUSE, _MAX_PAUSE = 0.5, 2.0
_LONG_AGO = float("-inf")


@dataclass(slots=True)
class _Reopening:
    """A connection under a live link that has to come back; `due` is None while it is being opened."""

    failures: int = 0
    due: float | None = None


class Connections:
    """Keeps links and connections together."""

    def __init__(self, transports: TransportTable, links: LinkLayer, peering: Peering, choice: PathChoice) -> None:
        self._transports = transports
        self._links = links
        self._peering = peering
        self._better = BetterPaths(transports, links, peering, choice)
        self._reopening: dict[Path, _Reopening] = {}
        self._idle_since: dict[Path, float] = {}

    # -- what transports tell

    def opened(self, path: Path, now: float) -> None:
        """The connection along `path` is open."""
        self._reopening.pop(path, None)
        self._links.path_opened(path, now)
        self._better.opened(path, now)

    def failed(self, path: Path, cause: str, now: float) -> None:
        """A connection did not open; one under a live link is tried again soon."""
        self._links.path_closed(path, cause)
        reopening = self._reopening.get(path)
        if reopening is not None:
            reopening.due = now + min(_FIRST_PAUSE * 2.0**reopening.failures, _MAX_PAUSE)
            reopening.failures += 1

    def lost(self, path: Path, cause: str, dialled: bool) -> PeerLink | None:
        """An open connection ended; one under a live link is opened again, provided that we dialled it.

        Returns the peer that was reached along it.
        """
        peer = self._links.path_closed(path, cause)
        if peer is not None and dialled:
            self._reopening[path] = _Reopening()
            self._connect(path)
        return peer

    def transport_gone(self, transport: ITransport, cause: str) -> None:
        """Nothing leaves over `transport` any more: its dials fail, its peers are doubted."""
        paths = {handshake.path for handshake in self._links.handshakes}
        paths |= {peer.path for peer in self._links.peers.values()}
        for path in paths:
            if path[0] == transport.transport_id:
                self._reopening.pop(path, None)
                self._links.path_closed(path, cause)

    def transport_back(self, transport: ITransport, now: float) -> None:
        """Go on with the links over `transport`."""
        for peer in list(self._links.peers.values()):
            if peer.path[0] != transport.transport_id:
                continue
            if self._transports.connector(transport.transport_id) is None:
                self._links.path_opened(peer.path, now)
            elif transport.can_dial(peer.path[1]):
                self._reopening[peer.path] = _Reopening()
                self._connect(peer.path)

    def link_ended(self, path: Path) -> None:
        """A link is gone: so is its connection when the goodbye has left, at the next tick, if no link uses it."""
        self._reopening.pop(path, None)
        self._idle_since[path] = _LONG_AGO

    def probe_elsewhere(self, peer: PeerLink, now: float) -> None:
        """A peer has fallen silent: ask for it wherever else it may be."""
        paths = self._peering.alternatives(peer.identity, peer.path)
        self._links.probe_elsewhere(peer, paths, now)
        for path in paths:
            connector = self._transports.connector(path[0])
            if connector is not None and not connector.is_connected(path[1]):
                connector.connect(path[1])

    # -- time

    def tick(self, now: float) -> None:
        """Open again what is due, look for better paths, close what serves nobody."""
        self._better.tick(now)
        for path, reopening in list(self._reopening.items()):
            if self._links.peer_at(path) is None:
                del self._reopening[path]
            elif reopening.due is not None and reopening.due <= now:
                reopening.due = None
                self._connect(path)
        self._close_idle(now)

    def _connect(self, path: Path) -> None:
        connector = self._transports.connector(path[0])
        if connector is not None and connector.state == "up":
            connector.connect(path[1])
        else:
            self._reopening.pop(path, None)

    def _close_idle(self, now: float) -> None:
        used = self._used_paths()
        idle_since: dict[Path, float] = {}
        for connector in self._transports.connectors():
            for address in connector.connections():
                path = (connector.transport_id, address)
                if path in used:
                    continue
                since = self._idle_since.get(path, now)
                if now - since >= (IDLE_INBOUND_SECS if connector.is_inbound(address) else IDLE_SECS):
                    connector.disconnect(address)
                else:
                    idle_since[path] = since
        self._idle_since = idle_since

    def _used_paths(self) -> set[Path]:
        """Paths of links, and of handshakes that may still become one."""
        links = self._links
        used = {peer.path for peer in links.peers.values()}
        used |= {handshake.path for handshake in links.handshakes}
        used |= {candidate.path for candidate in links.candidates if candidate.identity.node_addr not in links.peers}
        return used
