"""Looking for a better path to a peer that is connected, and moving there without losing the link.

A frame sealed with the keys of the link, sent along another path, makes the other side answer there (spec 01 section
9.3); once something comes back that way, it is the path of the link. Nothing is lost meanwhile: the old path serves on.
Releases of the reference up to v0.4 know the keys of a link on one transport only: they take no notice, and are met
over the better carrier when the link is made anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.mesh.link import LinkLayer, Path, PeerLink

from .path_choice import PathChoice
from .peering import Peering
from .transports import TransportTable

FIRST_SECS = 2.0
PAUSE_SECS, MAX_PAUSE_SECS = 5.0, 300.0


@dataclass(slots=True)
class _Search:
    """Better paths of one peer, to be tried at `due`; `pause` doubles while they lead nowhere."""

    paths: list[Path]
    due: float
    pause: float = PAUSE_SECS


class BetterPaths:
    """Tries, for every peer, the paths that are better than its own; soon when there is a new one, then less often."""

    def __init__(self, transports: TransportTable, links: LinkLayer, peering: Peering, choice: PathChoice) -> None:
        self._transports = transports
        self._links = links
        self._peering = peering
        self._choice = choice
        self._searches: dict[bytes, _Search] = {}

    def tick(self, now: float) -> None:
        """Try what is due."""
        searches: dict[bytes, _Search] = {}
        for peer in self._links.peers.values():
            paths = [] if peer.doubtful else self._better(peer)
            if not paths:
                continue
            search = self._searches.get(peer.node_addr)
            if search is None or search.paths != paths:
                search = _Search(paths, now + FIRST_SECS)
            searches[peer.node_addr] = search
            if now >= search.due:
                search.due, search.pause = now + search.pause, min(search.pause * 2, MAX_PAUSE_SECS)
                for path in paths:
                    self._try(peer, path, now)
        self._searches = searches

    def opened(self, path: Path, now: float) -> None:
        """A connection is open; if it was opened to try it, do."""
        for node_addr, search in self._searches.items():
            peer = self._links.peers.get(node_addr)
            if peer is not None and path in search.paths:
                self._links.greet(peer, path, now)

    def _better(self, peer: PeerLink) -> list[Path]:
        known = self._peering.known_paths(peer.identity)
        if all(path == peer.path for _, path in known):  # as a rule
            return []
        ranked = [(priority, self._choice.cost(path), path) for priority, path in known]
        current = next((rank for rank in ranked if rank[2] == peer.path), None)
        if current is None:  # a path that the peer found
            current = (min((rank[0] for rank in ranked), default=0), self._choice.cost(peer.path), peer.path)
        return [path for priority, cost, path in sorted(ranked) if (priority, cost) < current[:2]]

    def _try(self, peer: PeerLink, path: Path, now: float) -> None:
        connector = self._transports.connector(path[0])
        if not self._peering.may_send(peer.identity, path, now):
            return
        if connector is None or connector.is_connected(path[1]):
            self._links.greet(peer, path, now)
        else:
            connector.connect(path[1])
