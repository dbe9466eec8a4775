"""The node as the answers see it: at one moment, in the units operators read (spec 06 section 3)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from meshnode.identity import ipv6_text
from meshnode.mesh.link import PeerLink
from meshnode.node.core import Node
from meshnode.transports.interfaces import ITransport


@dataclass(slots=True, frozen=True)
class View:
    """A node and the time. `now` is the node's monotonic clock, `wall` Unix time, both in seconds."""

    node: Node
    now: float
    wall: float

    @classmethod
    def of(cls, node: Node) -> View:
        return cls(node, node.world.clock.seconds(), node.world.wall())

    def unix_ms(self, moment: float) -> int:
        """A moment on the node's clock as Unix time in milliseconds."""
        return max(0, int((self.wall - (self.now - moment)) * 1000))

    def age_ms(self, moment: float) -> int:
        """Milliseconds since a moment on the node's clock."""
        return max(0, int((self.now - moment) * 1000))

    def name(self, node_addr: bytes) -> str:
        """What to call a node (spec 06 section 2.1)."""
        return self.node.names.display(node_addr)

    def transport_of(self, peer: PeerLink) -> ITransport | None:
        """The transport of a peer's current path."""
        return self.node.transports.get(peer.path[0])

    @property
    def own_addr(self) -> bytes:
        return self.node.identity.node_addr


def mesh_address(node_addr: bytes) -> str:
    """The mesh IPv6 address of a node as text."""
    return ipv6_text(b"\xfd" + node_addr[:15])


def counts(counters: Any) -> dict[str, int]:
    """A dataclass of counters as an object of the same names."""
    return {field.name: getattr(counters, field.name) for field in fields(counters)}


def hex_list(addresses: list[bytes]) -> list[str]:
    return [address.hex() for address in addresses]


def without_unknown(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out the keys whose value is not known, for keys that are absent rather than null."""
    return {key: value for key, value in row.items() if value is not None}
