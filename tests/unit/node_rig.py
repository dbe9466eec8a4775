"""Whole node cores on one virtual clock and an in-memory medium, with a host that collects its packets."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock

from meshnode.identity import Identity, PeerIdentity
from meshnode.ipv6.adapter import Ipv6Adapter
from meshnode.mesh.settings import MeshSettings
from meshnode.node.admission import Admission, EverybodyAdmitted
from meshnode.node.core import Node
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.node.surroundings import Surroundings
from meshnode.transports.memory import LinkQuality, MemoryNetwork, MemoryTransport

MTU = 1472
WALL_START = 1_700_000_000.0


class HostStack:
    """The IPv6 stack beside a node: remembers what it is given (`PacketSink`)."""

    takes_frames = takes_datagram_runs = False

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def write(self, packets: list[bytes]) -> None:
        self.packets += packets

    def write_frames(self, frames: list[bytes]) -> None:
        raise AssertionError("this stack takes packets")


class NoHosts:
    """An empty hosts file."""

    def name_of(self, node_addr: bytes) -> str | None:
        return None

    def refresh(self) -> bool:
        return False

    def call(self, name: str, peer: PeerIdentity) -> None:
        pass

    def forget(self, peer: PeerIdentity) -> None:
        pass


class MeshHost:
    """One node with its host."""

    def __init__(
        self,
        net: MeshNet,
        name: str,
        seed: int,
        identity: Identity | None = None,
        admission: Admission | None = None,
        wall_start: float = WALL_START,
    ) -> None:
        rng = Random(seed)
        self.name = name
        self.log: list[tuple[str, str]] = []
        self.identity = identity or Identity.generate(rng.randbytes)
        clock = net.clock
        world = Surroundings(
            clock,
            lambda: wall_start + clock.seconds(),
            rng.randbytes,
            rng,
            NoHosts(),
            lambda level, text: self.log.append((level, text)),
            admission or EverybodyAdmitted(),
        )
        self.node = Node(self.identity, net.settings, world, MTU)
        self.stack = HostStack()
        self.transport = MemoryTransport(net.medium, name, 1, self.node, mtu=MTU)
        self.transport.start()
        self.node.transports.add(self.transport)
        self.node.ipv6.adapter = Ipv6Adapter(self.identity.ipv6, self.node.ipv6, self.stack, MTU, clock.seconds)

    def knows(self, *others: MeshHost) -> None:
        for other in others:
            self.node.register(other.identity.peer, other.name)

    def start(self, *peers: MeshHost) -> None:
        self.node.start(
            [PeerConfig(p.identity.peer, [PeerAddress("memory", p.name)], alias=p.name) for p in peers],
        )

    def send(self, other: MeshHost, payload: bytes, next_header: int = 59) -> bytes:
        """Let the host send one packet to `other`; returns the packet."""
        packet = b"\x60\x00\x00\x00" + len(payload).to_bytes(2, "big") + bytes((next_header, 64))
        packet += self.identity.ipv6 + other.identity.ipv6 + payload
        self.node.packets_read([packet])
        self.node.burst_ended()
        return packet

    def icmp(self) -> list[tuple[int, int]]:
        """Type and code of the ICMPv6 errors the host was given."""
        return [(packet[40], packet[41]) for packet in self.stack.packets if packet[6] == 58]


class MeshNet:
    """Hosts on one medium."""

    def __init__(self, settings: MeshSettings | None = None, quality: LinkQuality | None = None) -> None:
        self.clock = Clock()
        self.settings = settings or MeshSettings()
        self.medium = MemoryNetwork(self.clock, seed=7, quality=quality or LinkQuality(delay=(0.001, 0.002)))
        self.hosts: list[MeshHost] = []

    def host(
        self,
        name: str,
        seed: int | None = None,
        identity: Identity | None = None,
        admission: Admission | None = None,
        wall_start: float = WALL_START,
    ) -> MeshHost:
        host = MeshHost(self, name, len(self.hosts) + 1 if seed is None else seed, identity, admission, wall_start)
        self.hosts.append(host)
        return host

    def run(self, seconds: float, step: float = 0.05) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
