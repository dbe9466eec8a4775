"""Traffic models, and the judgement about every packet."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from meshnode.sim.scenario import TrafficSpec
from meshnode.sim.traffic import DELIVERED, EXCUSED, PENDING, REFUSED, flows_of, payload
from meshnode.sim.world import World
from tests.unit.sim_rig import invariants_broken, scenario, simulation

STAR = "duration: 20\ntopology: {kind: star, nodes: 6}\nlink: fibre\n"


@pytest.fixture(scope="module")
def world() -> World:
    return World(scenario(STAR), 1)


def flows(world: World, kind: str, pairs: int = 4, others: int = 0, node: str | None = None) -> list[tuple[str, str]]:
    spec = TrafficSpec(kind, kind, 0, 10, 1.0, 200, pairs=pairs, others=others, node=node)
    return [(a.name, b.name) for a, b, _, _ in flows_of(spec, world.machines, Random(1))]


def test_uniform_pairs_are_different_and_never_with_oneself(world: World) -> None:
    found = flows(world, "uniform", pairs=12)
    assert len(set(found)) == 12
    assert all(a != b for a, b in found)


def test_no_more_pairs_are_drawn_than_there_are(world: World) -> None:
    assert len(flows(world, "uniform", pairs=999)) == 30


def test_in_a_permutation_everybody_sends_once_and_receives_once(world: World) -> None:
    found = flows(world, "permutation")
    assert sorted(a for a, _ in found) == sorted(b for _, b in found) == [f"n{i}" for i in range(6)]
    assert all(a != b for a, b in found)


def test_all_to_all_is_every_ordered_pair(world: World) -> None:
    assert len(set(flows(world, "all_to_all"))) == 30


def test_incast_has_one_receiver_and_fan_out_one_sender(world: World) -> None:
    assert {b for _, b in flows(world, "incast", node="n2")} == {"n2"}
    assert {a for a, _ in flows(world, "fan_out", node="n2")} == {"n2"}
    assert len(flows(world, "incast", others=3)) == 3


def test_elephants_send_often_and_much_mice_seldom_and_little(world: World) -> None:
    spec = TrafficSpec("elephants_and_mice", "x", 0, 10, 0.1, 1300, pairs=3, others=8)
    sizes = Counter((interval, size) for _, _, interval, size in flows_of(spec, world.machines, Random(1)))
    assert sizes[0.1, 1300] == 3
    assert 0 < sizes[2.0, 100] <= 8


def test_zipf_prefers_some_destinations() -> None:
    sim = simulation(STAR + "traffic: [{kind: zipf, exponent: 2.0, from: 5, to: 15, interval: 0.02}]\n", until=16)
    received = Counter[str]()
    for flow in sim.world.traffics[0].flows:
        received[flow.destination.name] += len(flow.sent)
    assert received["n0"] > 3 * received["n5"]


def test_once_means_one_packet_per_flow() -> None:
    sim = simulation(STAR + "traffic: [{kind: all_to_all, from: 5, once: true}]\n", until=10)
    assert [len(flow.sent) for flow in sim.world.traffics[0].flows] == [1] * 30


# The judge


class Exchange:
    """A flow from n1 to n2 whose packets the test hands to hosts itself."""

    def __init__(self) -> None:
        self.world = World(scenario(STAR), 1)
        spec = TrafficSpec("pairs", "judged", 0, 0, 1.0, 200, named_pairs=[])
        self.traffic = self.world.add_traffic(spec)
        self.flow = self.traffic.flow(self.world.machine("n1"), self.world.machine("n2"), 200)
        self.flow.sent.append(1.0)
        self.flow.arrived.append(0.0)
        self.flow.hops.append(0)
        self.flow.state.append(PENDING)
        self.world.run_until(2.0)

    def packet(self, source: str = "n1", destination: str = "n2") -> bytes:
        addresses = self.world.machine(source).identity.ipv6 + self.world.machine(destination).identity.ipv6
        return b"\x60\0\0\0\0\xa0\x3b\x40" + addresses + payload(0, 0, 0, 200)

    def hand(self, packet: bytes, to: str = "n2") -> set[str]:
        self.world.receiver.receive(self.world.machine(to), packet)
        return invariants_broken(self.world)


def test_an_intact_packet_at_the_right_node_is_delivered() -> None:
    exchange = Exchange()
    assert exchange.hand(exchange.packet()) == set()
    assert list(exchange.flow.state) == [DELIVERED]
    assert list(exchange.flow.arrived) == [2.0]


def test_a_packet_delivered_twice_is_noticed() -> None:
    exchange = Exchange()
    exchange.hand(exchange.packet())
    assert exchange.hand(exchange.packet()) == {"delivered once"}


def test_a_packet_at_the_wrong_node_is_noticed() -> None:
    exchange = Exchange()
    assert exchange.hand(exchange.packet(), to="n3") == {"right node"}


@pytest.mark.parametrize("position", [54, 100, 199])
def test_an_altered_packet_is_noticed(position: int) -> None:
    exchange = Exchange()
    packet = bytearray(exchange.packet())
    packet[position] ^= 1
    assert exchange.hand(bytes(packet)) == {"payload intact"}


def test_a_shortened_packet_and_one_from_somebody_else_are_noticed() -> None:
    exchange = Exchange()
    assert exchange.hand(exchange.packet()[:-1]) == {"payload intact"}
    assert Exchange().hand(exchange.packet(source="n4")) == {"payload intact"}


def test_what_nobody_sent_is_noticed() -> None:
    exchange = Exchange()
    assert exchange.hand(exchange.packet()[:40] + b"\0" * 160) == {"payload intact"}


def icmp(exchange: Exchange, kind: int, mtu: int = 0) -> bytes:
    inner = exchange.packet()
    body = bytes((kind, 0, 0, 0)) + mtu.to_bytes(4, "big") + inner
    return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\x40" + b"\0" * 32 + body


def test_an_unreachable_error_marks_the_packet_it_is_about() -> None:
    exchange = Exchange()
    assert exchange.hand(icmp(exchange, 1), to="n1") == set()
    assert list(exchange.flow.state) == [REFUSED]


def test_a_packet_too_big_makes_the_flow_send_smaller_ones() -> None:
    exchange = Exchange()
    exchange.hand(icmp(exchange, 2, 120), to="n1")
    assert list(exchange.flow.state) == [EXCUSED]
    assert exchange.flow.size == 120


def test_packets_shrink_to_what_a_small_link_carries() -> None:
    text = """
duration: 20
topology: {kind: chain, nodes: 4}
link: fibre
links: [{between: [n1, n2], mtu: 1300}]
traffic: [{kind: pairs, pairs: [[n0, n3]], from: 6, interval: 0.2, size: 1390}]
"""
    (flow,) = simulation(text, until=19).world.traffics[0].flows
    assert flow.size < 1300
    assert flow.state[-1] == DELIVERED
