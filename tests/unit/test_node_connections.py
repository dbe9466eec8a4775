"""Nodes over carriers that need connections: dialled, accepted, lost, duplicated, idle (spec 04 sections 1.4, 4.2)."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from meshnode.mesh.link import PeerLink
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.transports.interfaces import IConnectionTransport, TransportError
from meshnode.transports.memory_streams import MemoryStreamTransport, StreamNetwork

from .node_rig import MeshHost, MeshNet
from .udp_rig import RecordingHost

DELAY = 0.01


class StreamHost:
    """A node whose only carrier is a stream transport."""

    def __init__(self, net: StreamNet, name: str, mtu: int = 1400) -> None:
        self.host = MeshHost(net.mesh, name, len(net.hosts) + 1)
        self.node = self.host.node
        self.name = name
        self.node.transports.add(self.plug(net, mtu))

    def plug(self, net: StreamNet, mtu: int) -> MemoryStreamTransport:
        self.stream = MemoryStreamTransport(net.streams, self.name, 2, self.node, mtu=mtu, connect_timeout=net.patience)
        self.stream.start()
        return self.stream

    def start(self, *peers: StreamHost) -> None:
        self.node.start(
            [PeerConfig(p.host.identity.peer, [PeerAddress("memory-stream", p.name)], alias=p.name) for p in peers]
        )

    def link(self, other: StreamHost) -> PeerLink:
        return self.node.links.peers[other.host.identity.node_addr]

    def has(self, other: StreamHost) -> bool:
        return other.host.identity.node_addr in self.node.links.peers

    def lines(self, text: str) -> list[str]:
        return [line for _, line in self.host.log if text in line]


class StreamNet:
    """Nodes on one stream network; `a` always has the smaller node address of the first two."""

    def __init__(self, delay: float = DELAY, patience: float = 5.0) -> None:
        self.patience = patience
        self.mesh = MeshNet()
        self.streams = StreamNetwork(self.mesh.clock, delay)
        self.hosts: list[StreamHost] = []

    def host(self, name: str, mtu: int = 1400) -> StreamHost:
        host = StreamHost(self, name, mtu)
        self.hosts.append(host)
        return host

    def pair(self) -> tuple[StreamHost, StreamHost]:
        """Two nodes, the smaller address first."""
        hosts = sorted((self.host("x"), self.host("y")), key=lambda host: host.host.identity.node_addr)
        return hosts[0], hosts[1]

    def run(self, seconds: float) -> None:
        self.mesh.run(seconds, step=0.01)


def talk(net: StreamNet, a: StreamHost, b: StreamHost) -> None:
    for source, target in ((a, b), (b, a)):
        packet = source.host.send(target.host, b"hello from " + source.name.encode())
        net.run(0.5)
        assert packet in target.host.stack.packets, source.host.log[-5:]


def test_it_is_a_connection_transport() -> None:
    net = StreamNet()
    transport = MemoryStreamTransport(net.streams, "m", 1, RecordingHost())
    verifyObject(IConnectionTransport, transport)
    transport.start()
    with pytest.raises(TransportError):
        MemoryStreamTransport(net.streams, "m", 2, RecordingHost()).start()


def test_a_connection_is_used_the_moment_it_is_open() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    assert not a.has(b)
    net.run(4 * DELAY + 0.02)  # one round trip to connect, one for the handshake
    assert a.has(b)
    net.run(0.5)
    talk(net, a, b)


def test_nothing_is_sent_before_the_connection_is_open_and_dials_are_shown_meanwhile() -> None:
    net = StreamNet(delay=1.0)
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1.9)
    (dial,) = a.node.links.handshakes
    assert dial.waiting
    assert a.stream.stats()["packets_sent"] == a.stream.stats()["send_errors"] == 0
    net.run(2.5)
    assert a.has(b)


def test_the_acceptor_answers_on_the_connection_it_accepted_and_never_dials() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1)
    talk(net, a, b)
    assert b.stream.connects == 0
    assert b.stream.is_inbound(b.link(a).path[1])
    net.streams.cut(a.name, b.name)
    b.host.send(a.host, b"into the void")
    net.run(5)
    assert b.stream.connects == 0


@pytest.mark.parametrize("cause", ["connection refused", "no route to host", "the proxy knows no such name"])
def test_a_failed_connect_tells_its_cause_to_the_peer_and_is_tried_again(cause: str) -> None:
    net = StreamNet()
    a, b = net.pair()
    net.streams.refusals[b.name] = cause
    b.start()
    a.start(b)
    net.run(1)
    assert a.lines(cause), a.host.log
    assert b.name in a.lines(cause)[0]
    assert not a.node.links.handshakes
    net.streams.refusals.clear()
    net.run(12)
    assert a.has(b)


def test_a_connect_nobody_answers_fails_after_the_time_of_the_transport() -> None:
    net = StreamNet()
    a, b = net.pair()
    net.streams.silent.add(b.name)
    b.start()
    a.start(b)
    net.run(4.9)
    assert a.node.links.handshakes
    net.run(0.3)
    assert a.lines("no answer within 5 s")
    assert not a.node.links.handshakes


def test_a_lost_connection_is_opened_again_at_once_and_the_link_goes_on() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1)
    before = a.link(b), b.link(a)
    net.streams.cut(a.name, b.name)
    net.run(0.1)
    assert (a.link(b), b.link(a)) == before
    talk(net, a, b)
    assert not a.link(b).doubtful
    assert a.lines("connection reset")


@pytest.mark.parametrize("delay", [2.0, 6.0])
def test_a_link_through_a_mixnet_is_made_once_and_lasts(delay: float) -> None:
    """Spec 04, section 8: nothing waits longer for a carrier that takes seconds, and marginal links come and go."""
    net = StreamNet(delay=delay, patience=300.0)
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(5 * delay + 1)
    links = a.link(b), b.link(a)
    net.run(60)
    assert (a.link(b), b.link(a)) == links
    assert not any(link.distrusted for link in links)
    packet = a.host.send(b.host, b"anybody there?")
    net.run(8 * delay)
    assert packet in b.host.stack.packets
    assert a.stream.connects == 1


def test_a_connection_that_cannot_be_opened_again_is_tried_with_growing_pauses() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1)
    connects = a.stream.connects
    net.streams.refusals[b.name] = "connection refused"
    net.streams.cut(a.name, b.name)
    net.run(20)
    assert a.link(b).doubtful
    assert connects + 8 <= a.stream.connects <= connects + 14
    net.streams.refusals.clear()
    net.run(4)
    talk(net, a, b)


def test_of_two_connections_after_a_mutual_dial_both_keep_the_one_the_smaller_address_dialled() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start(a)
    a.start(b)
    net.run(1)
    assert a.has(b)
    assert b.has(a)
    assert len(a.stream.connections()) == len(b.stream.connections()) == 2
    talk(net, a, b)
    assert a.link(b).path[1] == b.name
    assert b.stream.is_inbound(b.link(a).path[1])
    net.run(8)
    assert len(a.stream.connections()) == len(b.stream.connections()) == 1
    talk(net, a, b)
    assert a.stream.is_connected(a.link(b).path[1])


def test_after_a_mutual_dial_the_paths_do_not_swing() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start(a)
    a.start(b)
    net.run(20)
    for host in (a, b):
        assert len(host.lines("moved from")) <= 1


def test_the_connection_goes_with_its_link_after_the_goodbye() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1)
    a.node.stop()
    net.run(0.1)
    assert not b.has(a)
    net.run(2)
    assert b.stream.connections() == []


def test_a_dead_link_closes_its_connection() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1)
    (address,) = b.stream.connections()
    b.node.links.path_closed((2, address), "test")
    a.node.stop()
    a.stream.stop()
    net.run(33)
    assert b.stream.connections() == []
    assert not b.has(a)


def test_an_accepted_connection_without_a_link_is_closed_after_half_a_minute() -> None:
    net = StreamNet()
    _a, b = net.pair()
    b.start()
    silent = MemoryStreamTransport(net.streams, "silent", 1, RecordingHost(), accepts_connections=False)
    silent.start()
    silent.connect(b.name)
    net.run(29)
    assert len(b.stream.connections()) == 1
    net.run(3)
    assert b.stream.connections() == []
    assert silent.connections() == []


def test_a_changed_mtu_reaches_the_link_and_what_is_above_it() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1)
    a.stream.set_mtu(b.name, 1200)
    assert a.node.transports.link_mtu(a.link(b).path) == 1200
    assert a.link(b).mtu_probe is None  # a stream carries what it takes
    a.stream.set_mtu(None, 1100)
    assert a.node.transports.mtu == 1100


def test_a_transport_that_goes_down_takes_its_links_with_it_and_brings_them_back() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1)
    link = a.link(b)
    a.stream.fail("the cable was pulled")
    assert link.doubtful
    assert a.lines("the cable was pulled")
    net.run(5)
    a.stream.recover()
    net.run(0.3)
    assert a.link(b) is link
    talk(net, a, b)


def test_dials_wait_for_a_transport_that_comes_up_and_then_leave_at_once() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.stream.state = "down"
    a.start(b)
    net.run(1)
    assert not a.has(b)
    a.stream.recover()
    net.run(1.2)
    assert a.has(b)


def test_a_neighbour_that_a_transport_finds_is_dialled_once() -> None:
    net = StreamNet()
    a, b = net.pair()
    a.start()
    b.start()
    for _ in range(3):
        a.node.neighbour_found(a.stream, b.name, b.host.identity.peer.xonly)
    a.node.neighbour_found(a.stream, "echo", a.host.identity.peer.xonly)
    a.node.neighbour_found(a.stream, "nonsense", bytes(32))
    net.run(1)
    assert a.stream.connects == 1
    assert a.has(b)


def test_a_restarted_peer_is_met_again_over_a_new_connection() -> None:
    net = StreamNet()
    a, b = net.pair()
    b.start()
    a.start(b)
    net.run(1)
    b.node.state = "killed"
    for end in b.stream.ends():
        b.stream.ended(end, "connection reset")
    del net.streams.stations[b.name]
    net.run(1)
    again = StreamHost.__new__(StreamHost)
    again.host = MeshHost(net.mesh, b.name + "2", 9, b.host.identity)
    again.node, again.name = again.host.node, b.name
    again.node.transports.add(again.plug(net, 1400))
    again.start()
    net.run(8)
    talk(net, a, again)
