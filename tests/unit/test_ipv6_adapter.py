"""The IPv6 adapter between a host, played by lists of packets, and a node that remembers what it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.adapter import Ipv6Adapter, shim_payloads
from meshnode.ipv6.checksum import ICMPV6, TCP, UDP, transport_checksum
from meshnode.ipv6.testing import kernel_packets

OWN = bytes.fromhex("fd69e08d65cc3a6b9c2c2ac4bd405e4b")
PEER = bytes.fromhex("fdec3925bdbd24aa1cfd002f9ccf52f2")
THIRD = b"\xfd" + bytes(15)
OUTSIDE = b"\x20\x01" + bytes(14)
MULTICAST = b"\xff\x02" + bytes(14)
SYN_FROM_US = bytes.fromhex(
    "60000000001c0640fd69e08d65cc3a6b9c2c2ac4bd405e4bfdec3925bdbd24aa1cfd002f9ccf52f2"
    "9c400050000003e8000000007002faf060a2000001010402020405b4"
)
CLAMPED = SYN_FROM_US[:56] + bytes.fromhex("61df00000101040202040477")


def udp(
    source: bytes = OWN, destination: bytes = PEER, payload: bytes = b"data", first_word: int = 0x60000000
) -> bytes:
    head = b"\x9c\x40\x13\x88" + (8 + len(payload)).to_bytes(2, "big")
    checksum = transport_checksum(source + destination, UDP, head + b"\0\0" + payload).to_bytes(2, "big")
    header = first_word.to_bytes(4, "big") + (8 + len(payload)).to_bytes(2, "big") + bytes((UDP, 64))
    return header + source + destination + head + checksum + payload


def tcp(sequence: int, source: bytes = PEER, destination: bytes = OWN) -> bytes:
    head = b"\x9c\x40\x00\x50" + sequence.to_bytes(4, "big") + bytes(4) + b"\x50\x10\x01\x00"
    checksum = transport_checksum(source + destination, TCP, head + bytes(4) + bytes(100)).to_bytes(2, "big")
    return b"\x60\0\0\0\0\x78\x06\x40" + source + destination + head + checksum + bytes(102)


class Node:
    def __init__(self) -> None:
        self.runs: list[tuple[bytes, list[bytes]]] = []

    def send_ipv6(self, destination: bytes, packets: list[bytes]) -> None:
        self.runs.append((destination, packets))


class Sink:
    def __init__(self, takes_frames: bool) -> None:
        self.takes_frames = self.takes_datagram_runs = takes_frames
        self.packets: list[bytes] = []
        self.writes = 0

    def write(self, packets: list[bytes]) -> None:
        self.writes += 1
        self.packets += packets

    def write_frames(self, frames: list[bytes]) -> None:
        assert self.takes_frames
        self.writes += 1
        self.packets += [packet for frame in frames for packet in kernel_packets(frame)]


class Setup:
    """An adapter with its surroundings. `transport_mtu` 1472 gives a ceiling of 1335."""

    def __init__(self, takes_frames: bool = True) -> None:
        self.now = 100.0
        self.node = Node()
        self.sink = Sink(takes_frames)
        self.adapter = Ipv6Adapter(OWN, self.node, self.sink, 1472, lambda: self.now)
        self.counters = self.adapter.counters

    def deliver(self, packets: list[bytes], source: bytes = PEER, ce: bool = False) -> list[bytes]:
        """What the host gets of `packets` from the mesh."""
        before = len(self.sink.packets)
        self.adapter.receive(source, [b"head" + shim for shim in shim_payloads(packets)], 4, ce)
        self.adapter.flush()
        return self.sink.packets[before:]


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.fixture(params=[True, False], ids=["frames", "packets"])
def either(request: pytest.FixtureRequest) -> Setup:
    return Setup(takes_frames=request.param)


class TestFromTheHost:
    def test_consecutive_packets_to_one_destination_go_together(self, setup: Setup) -> None:
        a, b, c = udp(payload=b"a"), udp(payload=b"b"), udp(destination=THIRD)
        setup.adapter.packets_read([a, b, c, a])
        assert setup.node.runs == [(PEER, [a, b]), (THIRD, [c]), (PEER, [a])]
        assert setup.counters.sent == 4

    def test_what_is_no_ipv6_is_ignored_without_breaking_a_run(self, setup: Setup) -> None:
        packet = udp()
        setup.adapter.packets_read([packet, b"", packet[:39], b"\x45" + packet[1:], packet])
        assert setup.node.runs == [(PEER, [packet, packet])]
        assert setup.counters.malformed == 3
        assert setup.sink.packets == []

    def test_outside_the_mesh_is_unreachable(self, setup: Setup) -> None:
        packet = udp(destination=OUTSIDE)
        setup.adapter.packets_read([packet])
        (error,) = setup.sink.packets
        assert (error[6], error[8:24], error[24:40], error[40:42]) == (ICMPV6, OWN, OWN, b"\x01\x00")
        assert error[48:] == packet
        assert (setup.counters.outside_mesh, setup.counters.unreachable_sent, setup.node.runs) == (1, 1, [])

    def test_multicast_is_dropped_in_silence(self, setup: Setup) -> None:
        setup.adapter.packets_read([udp(destination=MULTICAST)])
        assert setup.sink.packets == []
        assert (setup.counters.outside_mesh, setup.counters.unreachable_sent) == (1, 0)

    def test_other_source_addresses_are_refused(self, setup: Setup) -> None:
        setup.adapter.packets_read([udp(), udp(source=THIRD), udp(source=b"\xfe\x80" + bytes(14)), udp()])
        assert setup.node.runs == [(PEER, [udp(), udp()])]
        assert setup.counters.foreign_source == 2
        assert setup.sink.packets == []

    def test_packets_to_ourselves_come_back_with_a_right_checksum(self, setup: Setup) -> None:
        packet = udp(destination=OWN)
        setup.adapter.packets_read([packet[:46] + b"\0\0" + packet[48:]])
        assert setup.sink.packets == [packet]
        assert (setup.counters.hairpinned, setup.node.runs) == (1, [])

    def test_a_syn_is_clamped_first_in_a_run_or_later(self, setup: Setup) -> None:
        setup.adapter.packets_read([SYN_FROM_US, SYN_FROM_US])
        assert setup.node.runs == [(PEER, [CLAMPED, CLAMPED])]
        assert setup.counters.mss_clamped == 2

    def test_a_known_path_sets_the_ceiling(self, setup: Setup) -> None:
        setup.adapter.set_path_mtu(PEER, 1400)
        setup.adapter.packets_read([SYN_FROM_US])
        setup.adapter.set_path_mtu(PEER, None)
        setup.adapter.packets_read([SYN_FROM_US])
        assert [packets[0][66:68] for _, packets in setup.node.runs] == [b"\x04\xef", b"\x04\x77"]

    @given(st.lists(st.binary(max_size=80)))
    def test_any_bytes_are_survived(self, noise: list[bytes]) -> None:
        setup = Setup()
        setup.adapter.packets_read(noise + [b"\x60" + part for part in noise])
        counters = setup.counters
        assert counters.sent + counters.malformed + counters.outside_mesh + counters.foreign_source == 2 * len(noise)


class TestFromTheMesh:
    def test_packets_arrive_as_they_were_sent(self, either: Setup) -> None:
        packets = [tcp(1000), tcp(1102), udp(PEER, OWN), tcp(5000)]
        assert either.deliver(packets) == packets
        assert either.counters.delivered == 4

    def test_the_address_of_the_session_is_the_source(self, either: Setup) -> None:
        (packet,) = either.deliver([udp(OUTSIDE, OUTSIDE)])
        assert (packet[8:24], packet[24:40]) == (PEER, OWN)

    def test_malformed_payloads_are_counted(self, either: Setup) -> None:
        either.adapter.receive(
            PEER, [b"head", b"head\1" + bytes(20), b"", b"head" + shim_payloads([tcp(1)])[0]], 4, False
        )
        either.adapter.flush()
        assert either.sink.packets == [tcp(1)]
        assert (either.counters.shim_malformed, either.counters.delivered) == (3, 1)

    def test_congestion_on_the_way_is_marked_on_capable_packets(self, either: Setup) -> None:
        capable, incapable = udp(PEER, OWN, first_word=0x60200000), udp(PEER, OWN)
        assert either.deliver([capable, incapable], ce=True) == [udp(PEER, OWN, first_word=0x60300000), incapable]
        assert either.counters.ce_received == 2

    def test_a_syn_is_clamped_by_the_path_to_its_source(self, either: Setup) -> None:
        syn = SYN_FROM_US[:8] + PEER + OWN + SYN_FROM_US[40:]
        either.adapter.set_path_mtu(PEER, 1400)
        (packet,) = either.deliver([syn])
        assert packet[66:68] == b"\x04\xef"
        assert transport_checksum(packet[8:40], TCP, packet[40:]) == 0
        assert either.counters.mss_clamped == 1

    def test_a_burst_is_written_once(self, setup: Setup) -> None:
        packets = [tcp(1000 + 102 * index) for index in range(6)]
        for at in (0, 2, 4):
            setup.adapter.receive(PEER, shim_payloads(packets[at : at + 2]), 0, False)
        assert setup.sink.writes == 0
        setup.adapter.flush()
        setup.adapter.flush()
        assert setup.sink.writes == 1
        assert setup.sink.packets == packets

    @given(st.lists(st.binary(max_size=80)), st.booleans(), st.booleans(), st.integers(0, 12))
    def test_any_bytes_are_survived(self, noise: list[bytes], takes_frames: bool, ce: bool, offset: int) -> None:
        setup = Setup(takes_frames)
        setup.adapter.receive(PEER, noise, offset, ce)
        setup.adapter.flush()
        assert len(setup.sink.packets) == setup.counters.delivered
        assert setup.counters.delivered + setup.counters.shim_malformed == len(noise)


class TestTooBig:
    def test_the_error_seems_to_come_from_the_destination(self, setup: Setup) -> None:
        setup.adapter.packet_too_big(udp(), 1203)
        (error,) = setup.sink.packets
        assert (error[8:24], error[24:40], error[40:42], error[44:48]) == (PEER, OWN, b"\x02\x00", b"\0\0\x04\xb3")
        assert setup.counters.too_big_sent == 1

    def test_there_is_one_in_a_tenth_of_a_second(self, setup: Setup) -> None:
        for self_now in (100.0, 100.05, 100.2):
            setup.now = self_now
            setup.adapter.packet_too_big(udp(), 1203)
        assert (setup.counters.too_big_sent, setup.counters.too_big_limited) == (2, 1)

    def test_the_limit_is_charged_before_it_is_known_whether_an_answer_is_allowed(self, setup: Setup) -> None:
        icmp_error = b"\x60\0\0\0\0\x08\x3a\x40" + OWN + PEER + b"\x01" + bytes(7)
        setup.adapter.packet_too_big(icmp_error, 1203)
        setup.adapter.packet_too_big(udp(), 1203)
        assert (setup.counters.too_big_sent, setup.counters.too_big_limited) == (0, 1)

    def test_unreachable_is_not_limited(self, setup: Setup) -> None:
        for _ in range(3):
            setup.adapter.unreachable(udp())
        assert setup.counters.unreachable_sent == 3

    @given(st.binary(max_size=100))
    def test_any_bytes_are_survived(self, noise: bytes) -> None:
        setup = Setup()
        setup.adapter.packet_too_big(noise, 1203)
        setup.adapter.unreachable(noise)
