"""One machine of the mesh: a real node core, the host beside it, and a life of starts and crashes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from meshnode.identity import Identity, PeerIdentity
from meshnode.ipv6.adapter import Ipv6Adapter
from meshnode.mesh.link import LinkEvent, PeerDown, PeerLink, PeerUp
from meshnode.mesh.next_hop import nearest_hop
from meshnode.mesh.router import ParentChanged, RouterEvent
from meshnode.mesh.settings import MeshSettings
from meshnode.node.core import Node
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.node.surroundings import Surroundings

from .clock import VirtualClock
from .medium import DEFAULT_MTU, Medium, Station
from .wilful import WilfulRouter, WilfulTree

WALL_START = 1_700_000_000.0
"""Unix time at the beginning of every simulation."""

SESSION_DATAGRAM, LOOKUP_REQUEST, LOOKUP_RESPONSE = 0x00, 0x30, 0x31

Tamper = Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]
"""Rewrites the (neighbour, link message) pairs a dishonest node is about to send."""


@dataclass(slots=True)
class Observer:
    """Where the nodes of a mesh tell what happens to them; every field is one sum over all of them.

    `messages` counts link messages received, by type. `history` is told of each change of peers and parents:
    (time, kind, node, other). `hops` counts how far datagrams had come when they arrived, `lookup_hops` requests.
    `lookup_heard` is called with (node, neighbour, message type) for each request or response that reached a node.
    """

    messages: dict[int, int]
    message_bytes: dict[int, int]
    hops: dict[int, int]
    lookup_hops: dict[int, int]
    history: list[tuple[float, str, str, str]]
    parent_changed: Callable[[], None] = lambda: None
    lookup_heard: Callable[[str, str, int], None] = lambda node, neighbour, kind: None

    @classmethod
    def new(cls) -> Observer:
        return cls({}, {}, {}, {}, [])


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


class SimNode(Node):
    """The node core, watched. It does exactly what `Node` does, unless `tamper` or its `tree` was made dishonest."""

    router_type = WilfulRouter
    observer: Observer
    address_names: dict[bytes, str]
    label: str
    tamper: Tamper | None = None
    swallows: Literal["nothing", "everything", "all but echoes"] = "nothing"
    last_hops: dict[bytes, int]

    @property
    def tree(self) -> WilfulTree:
        """The node's place, which can be made a lie."""
        tree = self.router.tree
        assert isinstance(tree, WilfulTree)
        return tree

    def _dispatch(self, peer: PeerLink, plaintexts: list[bytes], ce: bool, now: float) -> None:
        observer, kind = self.observer, plaintexts[0][4]
        if kind == SESSION_DATAGRAM and self._is_swallowed(plaintexts[0][8:24], plaintexts[0][24:40]):
            return
        observer.messages[kind] = observer.messages.get(kind, 0) + len(plaintexts)
        nbytes = sum(map(len, plaintexts))
        observer.message_bytes[kind] = observer.message_bytes.get(kind, 0) + nbytes
        if kind in (LOOKUP_REQUEST, LOOKUP_RESPONSE):
            observer.lookup_heard(self.label, self.name_of(peer.node_addr), kind)
            self._count_hops(kind, plaintexts[0])
        super()._dispatch(peer, plaintexts, ce, now)

    def _is_swallowed(self, source: bytes, destination: bytes) -> bool:
        """Whether a dishonest node drops what should go on; the sly one passes what neighbours try it with."""
        if self.swallows == "nothing" or destination == self.identity.node_addr:
            return False
        return self.swallows == "everything" or source != destination

    def _count_hops(self, kind: int, plaintext: bytes) -> None:
        """Note how far a request has come that asks for ourselves."""
        if kind == LOOKUP_REQUEST and plaintext[13:29] == self.identity.node_addr and len(plaintext) > 45:
            hops = self.settings.lookup.ttl - plaintext[45] + 1
            self.observer.lookup_hops[hops] = self.observer.lookup_hops.get(hops, 0) + 1

    def _deliver(
        self,
        source: bytes,
        peer: PeerLink,
        plaintexts: list[bytes],
        offset: int,
        path_mtu: int,
        ce: bool,
        now: float,
    ) -> None:
        self.last_hops[source] = self.settings.session.default_ttl - plaintexts[0][5] + 1
        super()._deliver(source, peer, plaintexts, offset, path_mtu, ce, now)

    def _send_out(self, now: float) -> bool:
        if self.tamper is not None and self.router.outbound:
            self.router.outbound = self.tamper(self.router.outbound)
        return super()._send_out(now)

    def _router_event(self, event: RouterEvent, now: float) -> None:
        if isinstance(event, ParentChanged):
            self.observer.history.append((now, "parent", self.label, self.name_of(event.new)))
            self.observer.parent_changed()
        super()._router_event(event, now)

    def _link_event(self, event: LinkEvent, now: float) -> None:
        if isinstance(event, PeerUp):
            self.observer.history.append((now, "up", self.label, self.name_of(event.peer.node_addr)))
        elif isinstance(event, PeerDown):
            self.observer.history.append((now, "down", self.label, self.name_of(event.peer.node_addr)))
        super()._link_event(event, now)

    def hop_towards(self, destination: bytes, coordinates: list[bytes]) -> bytes | None:
        """Where a datagram for a node at `coordinates` would leave to; asking changes nothing."""
        router = self.router
        if destination in router.neighbours:
            return destination
        return nearest_hop(router.tree.coordinates, coordinates, router.neighbours, self.links.link_cost)

    def cut_power(self) -> None:
        """Stop without a word and without a trace."""
        self.state = "stopped"
        self._alarm.cancel()

    def name_of(self, node_addr: bytes) -> str:
        """The name of a machine in the scenario, or the head of an address nobody has."""
        return self.address_names.get(node_addr) or f"{node_addr[:4].hex()}..."


class HostStack:
    """The IPv6 stack beside a node (`PacketSink`): hands packets to whoever counts them."""

    takes_frames = takes_datagram_runs = False

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    def write(self, packets: list[bytes]) -> None:
        for packet in packets:
            self._receive(packet)

    def write_frames(self, frames: list[bytes]) -> None:
        self.write(frames)


class Machine:
    """A name, a key, and while it runs a node. A restart keeps the key and nothing else.

    `receive(machine, packet)` takes what the node hands to its host.
    """

    def __init__(
        self,
        name: str,
        identity: Identity,
        seed: str,
        settings: MeshSettings,
        clock: VirtualClock,
        medium: Medium,
        observer: Observer,
        address_names: dict[bytes, str],
        receive: Callable[[Machine, bytes], None],
    ) -> None:
        self.name = name
        self.identity = identity
        self.settings = settings
        self.clock = clock
        self.medium = medium
        self.observer = observer
        self.starts = 0
        self.node: SimNode | None = None
        self.station: Station | None = None
        self.peers: list[Machine] = []
        self.left_at: float | None = None
        self.replays_accepted = 0
        self.log: list[tuple[float, str, str]] | None = None
        self._seed = seed
        self._names = address_names
        self._receive = receive
        address_names[identity.node_addr] = name

    @property
    def address(self) -> bytes:
        return self.identity.node_addr

    @property
    def running(self) -> bool:
        return self.node is not None

    def start(self) -> None:
        """Boot: a fresh node with a new startup epoch, which dials `peers`."""
        self.starts += 1
        random = Random(f"{self._seed}/{self.name}/{self.starts}")
        clock = self.clock
        world = Surroundings(
            clock, lambda: WALL_START + clock.seconds(), random.randbytes, random, NoHosts(), self._note
        )
        node = SimNode(self.identity, self.settings, world, DEFAULT_MTU)
        node.observer, node.label, node.address_names = self.observer, self.name, self._names
        node.last_hops = {}
        station = Station(self.medium, self.name, node, node_accepted(node))
        station.start()
        node.transports.add(station)
        stack = HostStack(lambda packet: self._receive(self, packet))
        node.ipv6.adapter = Ipv6Adapter(self.identity.ipv6, node.ipv6, stack, station.mtu, clock.seconds)
        self.node, self.station, self.left_at = node, station, None
        node.start([PeerConfig(p.identity.peer, [PeerAddress("sim", p.name)], alias=p.name) for p in self.peers])

    def stop(self) -> None:
        """Shut down in good order: the neighbours are told."""
        if self.node is not None:
            self.node.stop()
            self._gone()

    def crash(self) -> None:
        """Be gone without a word."""
        if self.node is not None and self.station is not None:
            self.station.cut()
            self.node.cut_power()
            self._gone()

    def _gone(self) -> None:
        if self.station is not None:
            self.station.cut()
            self.replays_accepted += self.station.replays_accepted
        self.node = self.station = None
        self.left_at = self.clock.seconds()

    def send(self, packet: bytes) -> None:
        """Let the host send one packet into the mesh."""
        if self.node is not None:
            self.node.packets_read([packet])
            self.node.burst_ended()

    def knows(self, other: Machine) -> None:
        """Learn another machine's key, as resolving its name does."""
        if self.node is not None and self.node.identities.peek_exact(other.address) is None:
            self.node.register(other.identity.peer, other.name)

    def _note(self, level: str, text: str) -> None:
        if self.log is not None:
            self.log.append((self.clock.seconds(), level, text))


def node_accepted(node: Node) -> Callable[[], int]:
    """A count of the link frames `node` has taken for authentic and new."""
    return lambda: sum(peer.packets_recv for peer in node.links.peers.values())
