"""What to call a node on a screen (spec 06 section 2.1)."""

from __future__ import annotations

from typing import Protocol

from meshnode.identity import PeerIdentity
from meshnode.mesh.link import LinkLayer
from meshnode.mesh.session import SessionLayer


class HostNames(Protocol):
    """The reverse side of the hosts file and the configured aliases."""

    def name_of(self, node_addr: bytes) -> str | None:
        """The name of a node, None when it has none."""

    def refresh(self) -> bool:
        """Read the names again if they changed."""

    def call(self, name: str, peer: PeerIdentity) -> None:
        """Have a peer be found under an alias, too."""

    def forget(self, peer: PeerIdentity) -> None:
        """Let go of a peer's aliases."""


class Names:
    """Display names: host name, alias, short npub of a peer or session, else the head of the address."""

    def __init__(self, hosts: HostNames, links: LinkLayer, sessions: SessionLayer) -> None:
        self._hosts = hosts
        self._links = links
        self._sessions = sessions
        self.aliases: dict[bytes, str] = {}

    def display(self, node_addr: bytes) -> str:
        """The best name known for `node_addr`."""
        name = self._hosts.name_of(node_addr) or self.aliases.get(node_addr)
        if name is not None:
            return name
        peer = self._links.peers.get(node_addr)
        if peer is not None:
            return peer.identity.short_npub
        session = self._sessions.sessions.get(node_addr)
        if session is not None and session.remote is not None:
            return session.remote.short_npub
        known = self._sessions.identities.peek_exact(node_addr)
        if known is not None:
            return known.short_npub
        return f"{node_addr[:4].hex()}..."
