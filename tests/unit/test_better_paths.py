"""A peer with several addresses is reached on the best of them, now and later (spec 04, transport choice)."""

from __future__ import annotations

from meshnode.mesh.link import PeerLink
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.transports.memory import MemoryTransport
from meshnode.transports.memory_streams import MemoryStreamTransport, StreamNetwork

from .node_rig import MeshHost, MeshNet


class Both:
    """A node with a datagram carrier (`udp`) and a stream carrier (`tcp`), each under the node's name."""

    def __init__(self, net: Net, name: str) -> None:
        self.host = MeshHost(net.mesh, f"{name}-unused", len(net.hosts) + 1)
        self.node, self.name = self.host.node, name
        self.udp = MemoryTransport(net.mesh.medium, name, 2, self.node, mtu=1472, kind="udp")
        self.tcp = MemoryStreamTransport(net.streams, name, 3, self.node, mtu=1400, kind="tcp")
        for transport in (self.udp, self.tcp):
            transport.start()
            self.node.transports.add(transport)
        net.hosts.append(self)

    def start(self, peer: Both | None = None, **priorities: int) -> None:
        """Begin, and dial `peer` at the carriers named."""
        peers = []
        if peer is not None:
            addresses = [PeerAddress(kind, peer.name, priority) for kind, priority in priorities.items()]
            peers.append(PeerConfig(peer.host.identity.peer, addresses, alias=peer.name))
        self.node.start(peers)

    def link(self, other: Both) -> PeerLink:
        return self.node.links.peers[other.host.identity.node_addr]

    def carrier(self, other: Both) -> str:
        transport = self.node.transports.get(self.link(other).path[0])
        return "none" if transport is None else transport.kind

    def moves(self) -> int:
        return sum(1 for _, line in self.host.log if "moved" in line)


class Net:
    def __init__(self) -> None:
        self.mesh = MeshNet()
        self.streams = StreamNetwork(self.mesh.clock, 0.01)
        self.hosts: list[Both] = []
        self.a, self.b = Both(self, "a"), Both(self, "b")

    def run(self, seconds: float) -> None:
        self.mesh.run(seconds, step=0.02)

    def carriers(self) -> tuple[str, str]:
        return self.a.carrier(self.b), self.b.carrier(self.a)

    def talk(self) -> None:
        for source, target in ((self.a, self.b), (self.b, self.a)):
            packet = source.host.send(target.host, b"hello from " + source.name.encode())
            self.run(0.5)
            assert packet in target.host.stack.packets, (self.carriers(), source.host.log[-4:])

    def cut_udp(self) -> None:
        for host in self.hosts:
            self.mesh.medium.detach(host.name)

    def mend_udp(self) -> None:
        for host in self.hosts:
            self.mesh.medium.attach(host.name, host.udp)


def test_of_two_ways_the_cheaper_kind_is_taken() -> None:
    net = Net()
    net.b.start()
    net.a.start(net.b, tcp=100, udp=100)
    net.run(12)
    assert net.carriers() == ("udp", "udp")
    net.talk()
    assert net.a.tcp.connections() == net.b.tcp.connections() == []


def test_the_operators_priority_counts_more_than_the_kind() -> None:
    net = Net()
    net.b.start()
    net.a.start(net.b, tcp=1, udp=100)
    net.run(30)
    assert net.carriers() == ("tcp", "tcp")
    net.talk()


def test_a_better_way_that_appears_later_is_taken_and_the_link_stays() -> None:
    net = Net()
    net.cut_udp()
    net.b.start()
    net.a.start(net.b, tcp=100, udp=100)
    net.run(20)
    assert net.carriers() == ("tcp", "tcp")
    links = net.a.link(net.b), net.b.link(net.a)
    net.mend_udp()
    net.run(60)
    assert net.carriers() == ("udp", "udp")
    assert (net.a.link(net.b), net.b.link(net.a)) == links
    net.run(10)
    assert net.a.tcp.connections() == [], "the connection is not needed any more"
    net.talk()


def test_a_transport_that_comes_up_is_tried_at_once() -> None:
    net = Net()
    net.a.udp.state = "down"
    net.b.start()
    net.a.start(net.b, tcp=100, udp=100)
    net.run(120)
    assert net.carriers() == ("tcp", "tcp")
    net.a.udp.state = "up"
    net.a.node.state_changed(net.a.udp, "carrier back")
    net.run(6)
    assert net.carriers() == ("udp", "udp")


def test_a_way_that_dies_is_left_for_a_worse_one_and_the_link_stays() -> None:
    net = Net()
    net.b.start()
    net.a.start(net.b, tcp=100, udp=100)
    net.run(12)
    links = net.a.link(net.b), net.b.link(net.a)
    net.cut_udp()
    net.run(8)
    assert net.carriers() == ("tcp", "tcp")
    assert (net.a.link(net.b), net.b.link(net.a)) == links
    net.talk()
    net.mend_udp()
    net.run(60)
    assert net.carriers() == ("udp", "udp")
    net.talk()


def test_a_way_that_carries_nothing_of_ours_any_more_is_left_although_the_peer_is_heard() -> None:
    net = Net()
    net.b.start()
    net.a.start(net.b, tcp=100, udp=100)
    net.run(12)
    net.mesh.medium.detach("b")
    net.run(25)
    assert net.carriers() == ("tcp", "tcp")
    net.talk()


def test_a_better_way_that_works_in_one_direction_only_does_not_make_the_link_swing() -> None:
    net = Net()
    net.cut_udp()
    net.b.start()
    net.a.start(net.b, tcp=100, udp=100)
    net.run(10)
    net.mesh.medium.attach("b", net.b.udp)  # a's frames arrive, b's do not
    net.run(120)
    assert net.a.carrier(net.b) == "tcp"
    assert net.b.moves() < 20
    lost = 0
    for _ in range(20):
        packet = net.b.host.send(net.a.host, b"there?")
        net.run(1)
        lost += packet not in net.a.host.stack.packets
        net.a.host.stack.packets.clear()
    assert lost <= 4


def test_a_path_that_the_peer_found_is_kept_when_ours_are_no_better() -> None:
    net = Net()
    net.a.start()
    net.b.start(net.a, udp=100)
    net.run(5)
    net.a.node.run(
        lambda now: net.a.node.peering.candidates_found(
            "test", net.b.host.identity.peer, [PeerAddress("tcp", "b")], now
        )
    )
    net.run(20)
    assert net.carriers() == ("udp", "udp")
    assert net.a.tcp.connects == 0
