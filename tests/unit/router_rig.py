"""One router with peers it is told to have, and what those peers would say to it."""

from __future__ import annotations

from typing import Any

from meshnode.identity import Identity, PeerIdentity
from meshnode.mesh.bloom import filter_of
from meshnode.mesh.router import Router
from meshnode.mesh.settings import MeshSettings
from meshnode.wire.bloom import FilterAnnounce
from meshnode.wire.tree import AncestryEntry, TreeAnnounce, declaration_bytes
from tests.unit.mesh_rig import WALL, sorted_identities

NODES = sorted_identities(8)
ADDRESSES = [node.node_addr for node in NODES]
TREE, FILTER = 0x10, 0x20


def announce(*nodes: int, sequence: int = 1, **changes: Any) -> TreeAnnounce:
    """A signed announce of nodes[0] with the path through the others."""
    parent = ADDRESSES[nodes[min(1, len(nodes) - 1)]]
    date = int(changes.get("date", 5))
    entries = [AncestryEntry(ADDRESSES[n], sequence, date) for n in nodes]
    signer: Identity = changes.get("signer", NODES[nodes[0]])
    signature = signer.sign(declaration_bytes(ADDRESSES[nodes[0]], parent, sequence, date), bytes(32))
    return TreeAnnounce(sequence, date, parent, entries, signature)


class Node:
    """A router under test, with peers it is told to have."""

    def __init__(self, me: int, peers: list[int], **sections: Any) -> None:
        self.now = 100.0
        self.known: dict[bytes, PeerIdentity] = {}
        self.costs: dict[bytes, float] = {}
        settings = MeshSettings(**sections)
        self.router = Router(NODES[me], settings, bytes, self.now, WALL, self.costs.get, self.known.get)
        for peer in peers:
            self.up(peer)

    def up(self, peer: int, mtu: int = 1472) -> None:
        self.router.peer_up(NODES[peer].peer, mtu, self.now, WALL)

    def hear(self, *nodes: int, sequence: int = 1, **changes: Any) -> None:
        body = announce(*nodes, sequence=sequence, **changes).encode()[1:]
        self.router.message(ADDRESSES[nodes[0]], TREE, body, self.now, WALL)

    def hear_filter(self, peer: int, members: list[int], sequence: int = 1) -> None:
        bits = filter_of(ADDRESSES[n] for n in members).to_bytes(1024, "little")
        body = FilterAnnounce(sequence, 5, 1, bits).encode()[1:]
        self.router.message(ADDRESSES[peer], FILTER, body, self.now, WALL)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.router.handle_timeout(self.now, WALL + self.now)

    def said(self) -> list[tuple[int, int]]:
        """Drain the output: (receiver, message type) in order."""
        out, self.router.outbound = self.router.outbound, []
        return [(ADDRESSES.index(peer), message[0]) for peer, message in out]
