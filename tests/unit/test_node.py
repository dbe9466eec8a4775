"""Whole nodes joined by a medium: packets arrive, nodes come and go, chains route (specs 01 to 03)."""

from __future__ import annotations

import pytest

from meshnode.identity import Identity
from meshnode.ipv6.fragment import Reassembler
from meshnode.mesh.relay_record import RelayRecord
from meshnode.mesh.settings import MeshSettings, RekeySettings
from meshnode.node.peering import DialError, PeerAddress, PeerConfig
from meshnode.transports.memory import LinkQuality

from .node_rig import MeshHost, MeshNet


def pair(settings: MeshSettings | None = None) -> tuple[MeshNet, MeshHost, MeshHost]:
    net = MeshNet(settings)
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(0.2)
    return net, a, b


def chain(length: int) -> tuple[MeshNet, list[MeshHost]]:
    """Hosts in a row, each dialling the next; everybody knows everybody's key."""
    net = MeshNet()
    hosts = [net.host(f"n{number}") for number in range(length)]
    for host in hosts:
        host.knows(*(other for other in hosts if other is not host))
    for index, host in reversed(list(enumerate(hosts))):
        host.start(*hosts[index + 1 : index + 2])
    return net, hosts


def pass_both_ways(net: MeshNet, a: MeshHost, b: MeshHost, within: float = 0.5) -> None:
    for source, target in ((a, b), (b, a)):
        packet = source.send(target, b"hello from " + source.name.encode())
        net.run(within)
        assert packet in target.stack.packets, f"{source.name} -> {target.name}: {source.log[-5:]}"


def test_a_packet_between_neighbours_arrives_unchanged() -> None:
    net, a, b = pair()
    pass_both_ways(net, a, b)


def test_the_first_packet_needs_no_more_than_a_handshake() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    packet = a.send(b, b"early")
    net.run(0.5)
    assert packet in b.stack.packets


def test_the_announcement_that_proves_a_peer_is_not_lost() -> None:
    _, a, b = pair()
    for host in (a, b):
        assert host.node.router.counters.tree.unknown_peer == 0
        assert host.node.router.counters.tree.accepted > 0


def test_a_burst_arrives_complete_and_in_order() -> None:
    net, a, b = pair()
    a.send(b, b"open")
    net.run(0.5)
    header = b"\x60\x00\x00\x00\x00\x04\x3b\x40" + a.identity.ipv6 + b.identity.ipv6
    packets = [header + number.to_bytes(4, "big") for number in range(500)]
    b.stack.packets.clear()
    a.node.packets_read(packets)
    a.node.burst_ended()
    net.run(0.5)
    assert b.stack.packets == packets


def test_an_unknown_address_is_unreachable_at_once() -> None:
    net, a, _ = pair()
    stranger = MeshHost(net, "stranger", 99)
    a.send(stranger, b"?")
    assert a.icmp() == [(1, 0)]


def test_a_known_node_nobody_can_reach_is_unreachable_after_the_lookup() -> None:
    net, a, _ = pair()
    stranger = MeshHost(net, "stranger", 99)
    a.knows(stranger)
    a.send(stranger, b"?")
    net.run(25)
    assert a.icmp() == [(1, 0)]


def test_an_oversize_packet_is_answered_with_the_limit() -> None:
    net, a, b = pair()
    a.send(b, bytes(1400))
    (error,) = a.stack.packets
    assert (error[40], error[41]) == (2, 0)
    assert int.from_bytes(error[44:48], "big") == 1472 - 77
    net.run(0.5)
    assert b.stack.packets == []


def test_an_oversize_packet_goes_nowhere_when_the_answer_is_held_back() -> None:
    """One answer in a tenth of a second (spec 02 section 11.6); what it is about is dropped all the same.

    It is further on that the path is narrow: our own link would take it.
    """
    net, a, b = pair()
    pass_both_ways(net, a, b)
    session = a.node.sessions.established(b.identity.node_addr)
    assert session is not None
    session.path_mtu.seed(1400)
    a.stack.packets.clear()
    b.stack.packets.clear()
    fits, too_long = 1400 - 77 - 40, 1400 - 77 - 40 + 1
    a.send(b, bytes(too_long))
    a.send(b, bytes(too_long))
    net.run(0.5)
    assert a.icmp() == [(2, 0)]
    assert b.stack.packets == []
    assert a.node.ipv6.adapter is not None
    assert a.node.ipv6.adapter.counters.too_big_limited == 1
    packet = a.send(b, bytes(fits))
    net.run(0.5)
    assert b.stack.packets == [packet]


@pytest.mark.parametrize("mtu", [256, 1280, 1356])
def test_what_every_ipv6_path_has_to_carry_arrives_in_fragments_where_frames_are_small(mtu: int) -> None:
    """A kernel that is told of less than 1280 bytes goes on as before, so it is no use telling it."""
    net, a, b = pair()
    pass_both_ways(net, a, b)
    session = a.node.sessions.established(b.identity.node_addr)
    assert session is not None
    session.path_mtu.seed(mtu)
    a.stack.packets.clear()
    b.stack.packets.clear()
    packet = a.send(b, bytes(range(256)) * 4 + bytes(1280 - 40 - 1024))
    net.run(0.5)
    assert a.icmp() == []
    assert max(map(len, b.stack.packets)) <= mtu - 77
    reassembler = Reassembler()
    assert [reassembler.add(part) for part in b.stack.packets][-1] == packet
    a.send(b, bytes(1280 - 40 + 1))
    assert [int.from_bytes(error[44:48], "big") for error in a.stack.packets] == [1280]


@pytest.mark.parametrize("length", [3, 5])
def test_a_chain_carries_packets_end_to_end(length: int) -> None:
    net, hosts = chain(length)
    net.run(6)
    pass_both_ways(net, hosts[0], hosts[-1], within=3)
    pass_both_ways(net, hosts[0], hosts[-1], within=0.2)
    assert hosts[1].node.forwarding.counters.forwarded_packets > 0
    classes = hosts[1].node.forwarding.counters
    assert classes.forwarded_packets == sum(
        getattr(classes, name) for name in classes.__slots__ if name.startswith("route_")
    )


def test_a_restarted_node_is_back_within_five_seconds() -> None:
    net, a, b = pair()
    pass_both_ways(net, a, b)
    net.run(10)
    b.transport.stop()
    b.node.state = "dead"
    net.run(0.5)
    reborn = net.host("b", seed=50, identity=b.identity)
    reborn.start()
    heard = None
    for tenth in range(60):
        packet = a.send(reborn, tenth.to_bytes(4, "big"))
        net.run(0.1)
        if packet in reborn.stack.packets:
            heard = tenth / 10
            break
    assert heard is not None
    assert heard <= 5


@pytest.mark.parametrize("wall_start", [0.0, 4e9], ids=["1970", "2096"])
@pytest.mark.parametrize("name", "abc")
def test_a_node_whose_clock_is_elsewhere_after_its_restart_is_in_its_place_again(name: str, wall_start: float) -> None:
    """As with a machine whose battery is flat: sequences count from the clock, and others remember the last life."""
    net = MeshNet()
    hosts = {each: net.host(each) for each in "abc"}
    hosts["c"].start()
    hosts["b"].start(hosts["c"])
    hosts["a"].start(hosts["b"])
    net.run(10)
    hosts[name].transport.stop()
    reborn = net.host(name, seed=50, identity=hosts[name].identity, wall_start=wall_start)
    hosts[name] = reborn
    reborn.start(*{"a": [hosts["b"]], "b": [hosts["c"]], "c": []}[name])
    net.run(15)
    assert {host.node.router.tree.root for host in hosts.values()} == {min(h.identity.node_addr for h in net.hosts)}
    hosts["a"].knows(hosts["c"])
    for _ in range(20):
        packet = hosts["a"].send(hosts["c"], b"still there?")
        net.run(0.25)
    assert packet in hosts["c"].stack.packets


def test_a_restarted_dialler_is_back_within_one_second() -> None:
    net, a, b = pair()
    pass_both_ways(net, a, b)
    net.run(10)
    a.transport.stop()
    a.node.state = "dead"
    reborn = net.host("a", seed=51, identity=a.identity)
    reborn.start(b)
    net.run(1)
    packet = b.send(reborn, b"still there?")
    net.run(0.5)
    assert packet in reborn.stack.packets


def test_stopping_tells_the_peers() -> None:
    net, a, b = pair()
    a.node.stop()
    net.run(0.2)
    assert b.node.links.peers == {}
    assert any("shutdown" in text for _, text in b.log)


def test_a_stopped_node_leaves_no_timer_behind() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(1)
    a.node.stop()
    b.node.stop()
    net.run(1)
    assert net.clock.getDelayedCalls() == []


def test_a_lost_peer_is_dialled_again() -> None:
    net, a, b = pair()
    net.medium.set_quality("a", "b", LinkQuality(loss=1.0))
    net.medium.set_quality("b", "a", LinkQuality(loss=1.0))
    net.run(40)
    assert a.node.links.peers == {}
    net.medium.set_quality("a", "b", None)
    net.medium.set_quality("b", "a", None)
    net.run(40)
    assert b.identity.node_addr in a.node.links.peers


def test_traffic_survives_rekeys_on_a_lossy_medium() -> None:
    settings = MeshSettings(rekey=RekeySettings(after_secs=45))
    net = MeshNet(settings, LinkQuality(delay=(0.001, 0.02), loss=0.05, duplicate=0.05, reorder=0.05))
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    net.run(5)
    arrived = 0
    for number in range(600):
        packet = a.send(b, number.to_bytes(4, "big"))
        net.run(0.5, step=0.1)
        arrived += packet in b.stack.packets
    assert arrived > 500
    peer = a.node.links.peers[b.identity.node_addr]
    assert peer.rekeys >= 3
    downs = [text for _, text in a.log + b.log if "removed" in text or "closed" in text]
    assert downs == []


def test_connecting_to_ourselves_is_refused() -> None:
    _, a, _ = pair()
    with pytest.raises(DialError, match="our own identity"):
        a.node.connect(PeerConfig(a.identity.peer, [PeerAddress("memory", "b")]))


def test_connecting_over_a_missing_transport_says_so() -> None:
    _, a, _ = pair()
    stranger = Identity.parse("11" * 32).peer
    with pytest.raises(DialError, match=r"no operational transport for tcp 192\.0\.2\.1:1"):
        a.node.connect(PeerConfig(stranger, [PeerAddress("tcp", "192.0.2.1:1")]))


def test_connecting_twice_starts_one_dial() -> None:
    net = MeshNet()
    a, b = net.host("a"), net.host("b")
    a.start()
    b.start()
    peer = PeerConfig(b.identity.peer, [PeerAddress("memory", "b")])
    assert a.node.connect(peer)
    assert not a.node.connect(peer)
    net.run(0.2)
    assert not a.node.connect(peer)


def test_a_peer_that_moves_is_followed() -> None:
    net, a, b = pair()
    pass_both_ways(net, a, b)
    a.transport.move("a-elsewhere")
    a.send(b, b"from elsewhere")
    net.run(0.5)
    assert b.node.links.peers[a.identity.node_addr].path[1] == "a-elsewhere"
    pass_both_ways(net, a, b)


def test_a_node_that_stood_still_keeps_its_peers_and_says_so() -> None:
    net, a, b = pair()
    net.run(5)
    net.clock.advance(20)
    net.run(2)
    assert any("stood still for" in text for _, text in a.log)
    assert not any("removed" in text for _, text in a.log + b.log)
    pass_both_ways(net, a, b)


def test_a_node_that_stood_still_begins_anew_to_watch_its_relays() -> None:
    net, a, b = pair()
    net.run(5)
    record = RelayRecord()
    record.ask(lambda: b"what it did not return", None, net.clock.seconds())
    a.node.router.black_holes._records[b.identity.node_addr] = record
    net.clock.advance(20)
    assert not record.is_suspect


def test_a_node_shows_itself_when_its_network_changed() -> None:
    net, a, b = pair()
    net.run(5)
    a.transport.move("a-elsewhere")
    a.node.network_changed()
    net.run(0.1)
    assert b.node.links.peers[a.identity.node_addr].path[1] == "a-elsewhere"
