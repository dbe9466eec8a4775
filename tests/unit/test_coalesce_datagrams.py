"""Merging UDP datagrams for the kernel: what it makes of the frames is what was sent, in order within a flow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.checksum import TCP, UDP, transport_checksum
from meshnode.ipv6.coalesce import NO_OFFLOAD, SEGMENTED_UDP, VIRTIO_HEADER, Coalescer
from meshnode.ipv6.shim import expand, shim_payloads
from meshnode.ipv6.testing import kernel_packets

OWN = b"\xfd" + bytes(14) + b"\x01"
PEER = b"\xfd" + bytes(14) + b"\x02"


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram as its sender's kernel would make it."""

    payload: bytes = b"x" * 100
    port: int = 5001
    first_word: bytes = b"\x60\x01\x02\x03"
    hop_limit: int = 64
    checksum: bool = True
    excess: int = 0
    """By how much the length field is wrong."""

    def packet(self) -> bytes:
        header = self.port.to_bytes(2, "big") + b"\x1f\x90" + (8 + len(self.payload) + self.excess).to_bytes(2, "big")
        right = transport_checksum(PEER + OWN, UDP, header + b"\0\0" + self.payload) or 0xFFFF
        udp = header + (right if self.checksum else 0).to_bytes(2, "big") + self.payload
        return self.first_word + len(udp).to_bytes(2, "big") + bytes((UDP, self.hop_limit)) + PEER + OWN + udp


def coalesce(packets: list[bytes], datagrams: bool = True) -> list[bytes]:
    coalescer = Coalescer(OWN, lambda packet: packet, datagrams)
    assert coalescer.add(PEER, [b"head" + shim for shim in shim_payloads(packets)], 4) == 0
    return coalescer.drain()


def frame_sizes(datagrams: list[Datagram]) -> list[int]:
    """How many packets are in each frame; checks on the way that nothing is changed or lost."""
    packets = [datagram.packet() for datagram in datagrams]
    cut = [kernel_packets(frame) for frame in coalesce(packets)]
    assert [packet for frame in cut for packet in frame] == packets
    return [len(frame) for frame in cut]


def test_datagrams_of_one_flow_become_one_frame() -> None:
    assert frame_sizes([Datagram(bytes((number,)) * 100) for number in range(10)]) == [10]


def test_the_virtio_header_says_how_to_cut() -> None:
    (frame,) = coalesce([Datagram().packet()] * 3)
    assert VIRTIO_HEADER.unpack_from(frame) == (1, SEGMENTED_UDP, 48, 100, 40, 6)


def test_a_kernel_that_cannot_cut_gets_single_packets() -> None:
    packet = Datagram().packet()
    assert coalesce([packet] * 3, datagrams=False) == [NO_OFFLOAD + packet] * 3


def test_a_lone_datagram_goes_out_as_it_came() -> None:
    packet = Datagram().packet()
    packet = packet[:46] + b"\x12\x34" + packet[48:]
    assert coalesce([packet]) == [NO_OFFLOAD + packet]


def test_a_shorter_datagram_ends_a_frame() -> None:
    assert frame_sizes([Datagram(), Datagram(), Datagram(b"short"), Datagram(b"short"), Datagram()]) == [3, 1, 1]


def test_a_longer_datagram_starts_a_frame() -> None:
    assert frame_sizes([Datagram(), Datagram(), Datagram(b"x" * 101), Datagram(b"x" * 101)]) == [2, 2]


def test_no_frame_has_more_than_64_datagrams() -> None:
    assert frame_sizes([Datagram()] * 150) == [64, 64, 22]


def test_a_frame_stays_within_the_largest_packet() -> None:
    assert frame_sizes([Datagram(b"x" * 20_000)] * 5) == [3, 2]


def test_huge_datagrams_are_not_merged() -> None:
    assert frame_sizes([Datagram(b"x" * 40_000)] * 2) == [1, 1]


@pytest.mark.parametrize(
    "change",
    [{"port": 5002}, {"hop_limit": 63}, {"first_word": b"\x60\x31\x02\x03"}],
    ids=lambda change: next(iter(change)),
)
def test_a_difference_in_the_header_splits(change: dict[str, object]) -> None:
    other = replace(Datagram(), **change)  # type: ignore[arg-type]
    assert frame_sizes([Datagram(), Datagram(), other, other]) == [2, 2]


@pytest.mark.parametrize("excess", [-1, 1])
def test_a_wrong_length_field_stays_alone(excess: int) -> None:
    odd = Datagram(excess=excess)
    assert frame_sizes([odd, odd, Datagram(), odd, Datagram(b"short", excess=excess)]) == [1, 1, 1, 1, 1]


def test_datagrams_without_data_stay_alone() -> None:
    assert frame_sizes([Datagram(b"")] * 2) == [1, 1]


def test_datagrams_without_a_checksum_stay_without() -> None:
    bare = Datagram(checksum=False)
    assert frame_sizes([bare, bare, Datagram(), Datagram(b"short", checksum=False)]) == [1, 1, 1, 1]


def test_interleaved_flows_are_merged_apart() -> None:
    packets = [Datagram(port=port).packet() for _ in range(5) for port in (1, 2)]
    assert [len(kernel_packets(frame)) for frame in coalesce(packets)] == [5, 5]


def test_tcp_between_the_same_ports_is_another_flow() -> None:
    datagram = Datagram().packet()
    segment = datagram[:6] + bytes((TCP,)) + datagram[7:]
    frames = coalesce([datagram, datagram, segment, datagram])
    assert [packet for frame in frames for packet in kernel_packets(frame)] == [datagram, datagram, segment, datagram]


datagrams = st.builds(
    Datagram,
    payload=st.sampled_from([b"", b"short", b"y" * 100, b"x" * 100, b"x" * 100]),
    port=st.sampled_from([1, 1, 2]),
    hop_limit=st.sampled_from([64, 64, 64, 63]),
    excess=st.sampled_from([0, 0, 0, 0, 0, 1]),
)


@given(st.lists(datagrams, max_size=40), st.integers(1, 40))
def test_within_a_flow_the_kernel_gets_every_datagram_as_it_was_and_in_order(sent: list[Datagram], batch: int) -> None:
    packets = [datagram.packet() for datagram in sent]
    coalescer = Coalescer(OWN, lambda packet: packet, datagrams=True)
    for at in range(0, len(packets), batch):
        coalescer.add(PEER, shim_payloads(packets[at : at + batch]), 0)
    arrived = [packet for frame in coalescer.drain() for packet in kernel_packets(frame)]
    for port in (b"\0\1", b"\0\2"):
        assert [p for p in arrived if p[40:42] == port] == [p for p in packets if p[40:42] == port]
    assert len(arrived) == len(packets)


@given(st.lists(st.binary(min_size=15, max_size=50), max_size=10))
def test_any_udp_packets_are_delivered(noise: list[bytes]) -> None:
    buffers = [b"\0" + part[:4] + b"\x11" + part[5:] for part in noise]
    coalescer = Coalescer(OWN, lambda packet: packet, datagrams=True)
    assert coalescer.add(PEER, buffers, 0) == 0
    arrived = [packet for frame in coalescer.drain() for packet in kernel_packets(frame)]
    assert sorted(map(len, arrived)) == sorted(len(expand(buffer, 0, PEER + OWN)) for buffer in buffers)
