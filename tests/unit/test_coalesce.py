"""Merging TCP segments for the kernel: what the kernel makes of the frames is what was sent, in order within a flow."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.checksum import TCP, transport_checksum
from meshnode.ipv6.coalesce import NO_OFFLOAD, SEGMENTED_TCPV6, VIRTIO_HEADER, Coalescer
from meshnode.ipv6.shim import expand, shim_payloads
from meshnode.ipv6.testing import kernel_packets

OWN = b"\xfd" + bytes(14) + b"\x01"
PEER = b"\xfd" + bytes(14) + b"\x02"
OTHER = b"\xfd" + bytes(14) + b"\x03"
ACK, PSH, SYN, FIN, RST, ECE, CWR = 0x10, 0x08, 0x02, 0x01, 0x04, 0x40, 0x80


@dataclass(frozen=True)
class Segment:
    """A TCP segment as its sender's kernel would make it; `options` in multiples of 4 bytes."""

    payload: bytes = b"x" * 100
    sequence: int = 1000
    flags: int = ACK
    acknowledgement: int = 7
    window: int = 500
    urgent: int = 0
    options: bytes = b""
    port: int = 5001
    first_word: bytes = b"\x60\x01\x02\x03"
    hop_limit: int = 64

    def packet(self, source: bytes = PEER) -> bytes:
        header = self.port.to_bytes(2, "big") + b"\x1f\x90"
        header += self.sequence.to_bytes(4, "big") + self.acknowledgement.to_bytes(4, "big")
        header += bytes(((20 + len(self.options)) << 2, self.flags)) + self.window.to_bytes(2, "big")
        tail = self.urgent.to_bytes(2, "big") + self.options + self.payload
        checksum = transport_checksum(source + OWN, TCP, header + b"\0\0" + tail)
        tcp = header + checksum.to_bytes(2, "big") + tail
        return self.first_word + len(tcp).to_bytes(2, "big") + bytes((TCP, self.hop_limit)) + source + OWN + tcp

    def following(self, **changes: object) -> Segment:
        """The next segment of the same flow."""
        return replace(self, sequence=(self.sequence + len(self.payload)) & 0xFFFFFFFF, **changes)  # type: ignore[arg-type]


def stream(count: int, first: Segment = Segment()) -> list[Segment]:
    segments = [first]
    while len(segments) < count:
        segments.append(segments[-1].following())
    return segments


def coalesce(packets: list[bytes], source: bytes = PEER, offset: int = 10) -> list[bytes]:
    coalescer = Coalescer(OWN, lambda packet: packet)
    assert coalescer.add(source, [bytes(offset) + shim for shim in shim_payloads(packets)], offset) == 0
    return coalescer.drain()


def frame_sizes(segments: list[Segment]) -> list[int]:
    """How many packets are in each frame; checks on the way that nothing is changed or lost."""
    packets = [segment.packet() for segment in segments]
    cut = [kernel_packets(frame) for frame in coalesce(packets)]
    assert [packet for frame in cut for packet in frame] == packets
    return [len(frame) for frame in cut]


def test_a_stream_becomes_one_frame() -> None:
    assert frame_sizes(stream(10)) == [10]


def test_options_are_kept() -> None:
    assert frame_sizes(stream(10, Segment(options=bytes(range(12))))) == [10]


def test_the_virtio_header_says_how_to_cut() -> None:
    (frame,) = coalesce([segment.packet() for segment in stream(3, Segment(options=bytes(12)))])
    assert VIRTIO_HEADER.unpack_from(frame) == (1, SEGMENTED_TCPV6, 72, 100, 40, 16)


def test_a_lone_segment_goes_out_as_it_came() -> None:
    packet = Segment().packet()
    assert coalesce([packet]) == [NO_OFFLOAD + packet]


def test_a_wrong_checksum_of_a_lone_segment_stays_wrong() -> None:
    packet = Segment().packet()
    packet = packet[:56] + b"\x12\x34" + packet[58:]
    assert coalesce([packet]) == [NO_OFFLOAD + packet]


def test_merged_segments_get_new_checksums() -> None:
    right = [segment.packet() for segment in stream(2)]
    wrong = [packet[:56] + b"\x12\x34" + packet[58:] for packet in right]
    (frame,) = coalesce(wrong)
    assert kernel_packets(frame) == right


def test_a_shorter_segment_ends_a_frame() -> None:
    segments = stream(3)
    segments.append(segments[-1].following(payload=b"short"))
    segments.append(segments[-1].following(payload=b"x" * 100))
    segments.append(segments[-1].following())
    assert frame_sizes(segments) == [4, 2]


def test_a_longer_segment_starts_a_frame() -> None:
    segments = stream(2)
    segments.append(segments[-1].following(payload=b"x" * 101))
    assert frame_sizes(segments) == [2, 1]


def test_a_push_ends_a_frame() -> None:
    segments = stream(3)
    segments.append(segments[-1].following(flags=ACK | PSH))
    segments.append(segments[-1].following(flags=ACK))
    segments.append(segments[-1].following())
    assert frame_sizes(segments) == [4, 2]


def test_a_push_on_a_shorter_segment_ends_a_frame() -> None:
    segments = stream(3)
    segments.append(segments[-1].following(flags=ACK | PSH, payload=b"end"))
    assert frame_sizes(segments) == [4]


def test_a_push_at_the_start_stays_alone() -> None:
    first = Segment(flags=ACK | PSH)
    assert frame_sizes([first, first.following(flags=ACK)]) == [1, 1]


@pytest.mark.parametrize("flags", [ACK | SYN, ACK | FIN, ACK | RST, ACK | CWR, ACK | 0x20, 0, PSH])
def test_segments_with_other_flags_stay_alone(flags: int) -> None:
    first = Segment(flags=flags)
    assert frame_sizes([first, first.following(), first.following().following(flags=ACK)]) == [1, 1, 1]


def test_echoed_congestion_is_kept() -> None:
    assert frame_sizes(stream(3, Segment(flags=ACK | ECE))) == [3]


@pytest.mark.parametrize(
    "change",
    [
        {"acknowledgement": 8},
        {"window": 501},
        {"urgent": 1},
        {"flags": ACK | ECE},
        {"options": b"\1\1\1\1"},
        {"first_word": b"\x60\x31\x02\x03"},
        {"first_word": b"\x60\x01\x02\x04"},
        {"hop_limit": 63},
        {"sequence": 1201},
        {"sequence": 1000},
    ],
)
def test_a_difference_between_segments_splits(change: dict[str, object]) -> None:
    segments = stream(2)
    changed = replace(segments[-1].following(), **change)  # type: ignore[arg-type]
    assert frame_sizes([*segments, changed]) == [2, 1]


def test_a_difference_in_options_splits() -> None:
    segments = stream(2, Segment(options=bytes(12)))
    segments.append(segments[-1].following(options=bytes(11) + b"\1"))
    assert frame_sizes(segments) == [2, 1]


def test_acknowledgements_without_data_stay_alone() -> None:
    assert frame_sizes([Segment(payload=b"")] * 3) == [1, 1, 1]


def test_a_packet_without_data_is_not_overtaken() -> None:
    segments = stream(4)
    bare = replace(segments[2], payload=b"")
    assert frame_sizes([*segments[:2], bare, *segments[2:]]) == [2, 1, 2]


def test_sequence_numbers_wrap() -> None:
    assert frame_sizes(stream(5, Segment(sequence=0xFFFFFFFF - 150))) == [5]


def test_a_frame_stays_within_the_largest_packet() -> None:
    segments = stream(120, Segment(payload=b"x" * 1200))
    packets = [segment.packet() for segment in segments]
    frames = coalesce(packets)
    assert [packet for frame in frames for packet in kernel_packets(frame)] == packets
    assert [len(frame) for frame in frames] == [70 + 54 * 1200, 70 + 54 * 1200, 70 + 12 * 1200]


def test_huge_segments_are_not_merged() -> None:
    assert frame_sizes(stream(2, Segment(payload=bytes(40000)))) == [1, 1]


def test_interleaved_flows_are_merged_apart() -> None:
    flows = [stream(5, Segment(port=port)) for port in (1, 2, 3)]
    packets = [segment.packet() for together in zip(*flows, strict=True) for segment in together]
    cut = [kernel_packets(frame) for frame in coalesce(packets)]
    assert cut == [[segment.packet() for segment in flow] for flow in flows]


def test_a_flow_goes_on_from_one_batch_to_the_next() -> None:
    coalescer = Coalescer(OWN, lambda packet: packet)
    packets = [segment.packet() for segment in stream(4)]
    coalescer.add(PEER, shim_payloads(packets[:2]), 0)
    coalescer.add(PEER, [b"head" + shim for shim in shim_payloads(packets[2:])], 4)
    (frame,) = coalescer.drain()
    assert kernel_packets(frame) == packets
    assert coalescer.drain() == []


def test_sources_with_the_same_ports_are_not_mixed() -> None:
    coalescer = Coalescer(OWN, lambda packet: packet)
    segments = stream(3)
    expected = []
    for segment, source in zip(segments, (PEER, OTHER, PEER), strict=True):
        coalescer.add(source, shim_payloads([segment.packet(source)]), 0)
        expected.append(segment.packet(source))
    assert [packet for frame in coalescer.drain() for packet in kernel_packets(frame)] == expected


def test_nothing_is_left_open_after_a_drain() -> None:
    coalescer = Coalescer(OWN, lambda packet: packet)
    for segment in stream(2):
        coalescer.add(PEER, shim_payloads([segment.packet()]), 0)
        assert coalescer.drain() == [NO_OFFLOAD + segment.packet()]


def test_packets_with_syn_pass_the_clamp() -> None:
    seen: list[bytes] = []

    def clamp(packet: bytes) -> bytes:
        seen.append(packet)
        return b"clamped"

    coalescer = Coalescer(OWN, clamp)
    packets = [Segment(flags=flags, payload=b"").packet() for flags in (SYN, ACK, SYN | ACK)]
    coalescer.add(PEER, shim_payloads(packets), 0)
    assert coalescer.drain() == [NO_OFFLOAD + b"clamped", NO_OFFLOAD + packets[1], NO_OFFLOAD + b"clamped"]
    assert seen == [packets[0], packets[2]]


def test_other_transports_pass_unchanged() -> None:
    packet = b"\x60\0\0\0\0\x08\x11\x40" + PEER + OWN + bytes(8)
    assert coalesce([packet, packet]) == [NO_OFFLOAD + packet] * 2


@pytest.mark.parametrize("length", [0, 4, 19])
def test_tcp_without_a_whole_header_passes_unchanged(length: int) -> None:
    packet = b"\x60\0\0\0\0" + bytes((length, TCP, 64)) + PEER + OWN + bytes(length)
    assert coalesce([packet]) == [NO_OFFLOAD + packet]


@pytest.mark.parametrize("words", [0, 4, 15])
def test_tcp_with_an_impossible_data_offset_passes_unchanged(words: int) -> None:
    packet = Segment(payload=b"x" * 30).packet()
    packet = packet[:52] + bytes((words << 4,)) + packet[53:]
    assert coalesce([packet, packet]) == [NO_OFFLOAD + packet] * 2


segments = st.builds(
    Segment,
    payload=st.sampled_from([b"", b"short", b"y" * 100, b"x" * 100, b"x" * 100, b"x" * 100]),
    flags=st.sampled_from([ACK, ACK, ACK, ACK | PSH, ACK | ECE, ACK | CWR, ACK | FIN, ACK | SYN]),
    acknowledgement=st.sampled_from([7, 7, 7, 8]),
    window=st.sampled_from([500, 500, 500, 501]),
    options=st.sampled_from([b"", b"", bytes(12), bytes(11) + b"\1"]),
    port=st.sampled_from([1, 1, 2]),
    first_word=st.sampled_from([b"\x60\x01\x02\x03", b"\x60\x01\x02\x03", b"\x60\x31\x02\x03"]),
    hop_limit=st.sampled_from([64, 64, 63]),
)


@given(st.lists(st.tuples(segments, st.sampled_from([0, 0, 0, 0, -100, 100])), max_size=40), st.integers(1, 40))
def test_within_a_flow_the_kernel_gets_every_packet_as_it_was_and_in_order(
    parts: list[tuple[Segment, int]], batch: int
) -> None:
    sequences: defaultdict[int, int] = defaultdict(lambda: 0xFFFFFF00)
    packets = []
    for part, slip in parts:
        sequence = (sequences[part.port] + slip) & 0xFFFFFFFF
        packets.append(replace(part, sequence=sequence).packet())
        sequences[part.port] = sequence + len(part.payload)
    coalescer = Coalescer(OWN, lambda packet: packet)
    for at in range(0, len(packets), batch):
        coalescer.add(PEER, [b"head" + shim for shim in shim_payloads(packets[at : at + batch])], 4)
    arrived = [packet for frame in coalescer.drain() for packet in kernel_packets(frame)]
    for port in (1, 2):
        ports = port.to_bytes(2, "big")
        assert [p for p in arrived if p[40:42] == ports] == [p for p in packets if p[40:42] == ports]
    assert len(arrived) == len(packets)


@given(st.lists(st.binary(max_size=80).map(lambda noise: b"\0" + noise)), st.integers(0, 12))
def test_any_bytes_are_delivered_or_counted(noise: list[bytes], offset: int) -> None:
    coalescer = Coalescer(OWN, lambda packet: packet)
    malformed = coalescer.add(PEER, noise, offset)
    arrived = [packet for frame in coalescer.drain() for packet in kernel_packets(frame)]
    assert len(arrived) == len(noise) - malformed


@given(st.lists(st.binary(min_size=27, max_size=50), max_size=10))
def test_any_tcp_packets_are_delivered(noise: list[bytes]) -> None:
    buffers = [b"\0" + part[:4] + b"\x06" + part[5:] for part in noise]
    coalescer = Coalescer(OWN, lambda packet: packet)
    assert coalescer.add(PEER, buffers, 0) == 0
    arrived = [packet for frame in coalescer.drain() for packet in kernel_packets(frame)]
    assert sorted(map(len, arrived)) == sorted(len(expand(buffer, 0, PEER + OWN)) for buffer in buffers)
