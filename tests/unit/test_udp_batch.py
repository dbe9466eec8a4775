"""Grouping frames for segmented sends, splitting coalesced reads, and what happens when the kernel refuses."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.transports.udp_batch import (
    MAX_RUN_BYTES,
    MAX_SEGMENTS,
    segment_runs,
    split_segments,
    without_punches,
)
from tests.unit.udp_rig import PEER_TEXT, Rig, log_lines


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([9], [(0, 1)]),
        ([9, 9, 9], [(0, 3)]),
        ([9, 9, 5], [(0, 3)]),
        ([9, 5, 5], [(0, 2), (2, 3)]),
        ([9, 5, 9, 9], [(0, 2), (2, 4)]),
        ([5, 9, 9], [(0, 1), (1, 3)]),
        ([9, 9, 10], [(0, 2), (2, 3)]),
        ([0, 0, 9], [(0, 2), (2, 3)]),
        ([9, 0, 9], [(0, 1), (1, 2), (2, 3)]),
        ([3, 2, 1], [(0, 2), (2, 3)]),
    ],
)
def test_equal_frames_form_a_run_that_a_shorter_one_may_close(lengths: list[int], expected: list[object]) -> None:
    assert segment_runs(lengths) == expected


def test_a_run_has_at_most_sixty_four_frames() -> None:
    assert segment_runs([10] * 130) == [(0, 64), (64, 128), (128, 130)]


def test_a_run_stays_within_what_one_datagram_of_the_system_may_hold() -> None:
    assert segment_runs([1400] * 100) == [(0, 46), (46, 92), (92, 100)]
    assert segment_runs([40_000, 40_000]) == [(0, 1), (1, 2)]
    assert segment_runs([65_400, 1]) == [(0, 1), (1, 2)]


@given(st.lists(st.one_of(st.integers(0, 2000), st.sampled_from([1280, 1280, 1280, 700])), max_size=200))
def test_runs_cover_every_frame_once_and_obey_the_kernel(lengths: list[int]) -> None:
    runs = segment_runs(lengths)
    assert [position for start, end in runs for position in range(start, end)] == list(range(len(lengths)))
    for start, end in runs:
        run = lengths[start:end]
        assert len(run) <= MAX_SEGMENTS
        assert sum(run) <= MAX_RUN_BYTES
        assert set(run[:-1]) <= {run[0]}
        assert len(run) == 1 or run[-1] == run[0] or 0 < run[-1] < run[0]


def test_a_coalesced_read_falls_apart_into_its_datagrams_with_an_odd_last_one() -> None:
    assert split_segments(b"aaabbbccd", 3) == [b"aaa", b"bbb", b"ccd"]
    assert split_segments(b"aaabbbc", 3) == [b"aaa", b"bbb", b"c"]


@given(st.integers(1, 1500), st.integers(1, 40), st.integers(1, 1500), st.randoms(use_true_random=False))
def test_splitting_undoes_joining(size: int, number: int, last: int, random: object) -> None:
    frames = [bytes([position % 256]) * size for position in range(number)] + [b"z" * min(last, size)]
    assert split_segments(b"".join(frames), size) == frames


def test_punch_packets_are_taken_out_and_nothing_else() -> None:
    frames = [b"\x00abc", b"NPTC" + bytes(20), b"NPTX" + bytes(20), b"NPTA", b"NPT", b"N"]
    assert without_punches(frames) == [b"\x00abc", b"NPTX" + bytes(20), b"NPT", b"N"]


# -- sending through the transport ------------------------------------------------------------------------------------


def test_a_burst_to_one_address_is_one_segmented_send_in_order() -> None:
    rig = Rig()
    frames = [bytes([number]) * 100 for number in range(40)] + [b"short"]
    rig.emit(PEER_TEXT, frames)
    assert rig.groups == [(41, 100)]
    assert rig.sent_frames == frames
    assert rig.counter("packets_sent") == 41
    assert rig.counter("bytes_sent") == 4005
    assert rig.counter("send_errors") == 0


def test_interleaved_destinations_are_gathered_each_into_its_own_send() -> None:
    rig = Rig()
    for number in range(5):
        rig.transport.send("192.0.2.9:1", [bytes([number]) * 50])
        rig.transport.send("192.0.2.9:2", [bytes([number]) * 60])
    rig.transport.flush()
    assert [(batch.address[1], len(batch.frames)) for batch in rig.socket.sent] == [(1, 5), (2, 5)]
    assert [frame[0] for frame in rig.socket.sent[0].frames] == [0, 1, 2, 3, 4]


def test_a_single_frame_is_sent_without_control_data() -> None:
    rig = Rig()
    rig.emit(PEER_TEXT, [b"x" * 100])
    rig.emit(PEER_TEXT, [b"x" * 10, b"y" * 20])
    assert rig.groups == [(1, None), (1, None), (1, None)]


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
def test_a_kernel_that_cannot_segment_gets_single_datagrams_from_then_on(number: int) -> None:
    rig = Rig()
    rig.socket.failures.append(number)
    frames = [bytes([number]) * 100 for number in range(4)]
    rig.emit(PEER_TEXT, frames)
    rig.emit("192.0.2.7:1", frames)
    assert rig.groups == [(1, None)] * 8
    assert rig.sent_frames == frames * 2
    assert rig.counter("packets_sent") == 8
    assert rig.counter("send_errors") == 0


def test_an_invalid_destination_does_not_cost_the_others_their_segmentation() -> None:
    rig = Rig()
    rig.socket.failures.extend([errno.EINVAL] * 3)
    rig.emit(PEER_TEXT, [b"a" * 9, b"b" * 9])
    assert rig.counter("send_errors") == 2
    rig.emit("192.0.2.7:1", [b"a" * 9, b"b" * 9])
    assert rig.groups == [(2, 9)]


def test_a_path_with_a_small_mtu_costs_segmentation_for_that_destination_only() -> None:
    rig = Rig()
    rig.socket.path_mtu = 500
    frames = [b"a" * 600, b"b" * 600]
    rig.emit(PEER_TEXT, frames)
    rig.socket.path_mtu = 65_000
    rig.emit(PEER_TEXT, frames)
    rig.emit("192.0.2.7:1", frames)
    assert rig.groups == [(1, None)] * 4 + [(2, 600)]
    assert rig.counter("send_errors") == 0


def test_destinations_remembered_as_unsegmented_are_bounded() -> None:
    rig = Rig()
    rig.socket.path_mtu = 50
    for port in range(1, 301):
        rig.emit(f"192.0.2.9:{port}", [b"a" * 60, b"b" * 60])
    rig.socket.path_mtu = 65_000
    rig.socket.sent.clear()
    rig.emit("192.0.2.9:1", [b"a" * 60, b"b" * 60])
    rig.emit("192.0.2.9:300", [b"a" * 60, b"b" * 60])
    assert rig.groups == [(2, 60), (1, None), (1, None)]


def test_a_full_socket_drops_and_counts_the_rest_of_the_burst() -> None:
    rig = Rig()
    rig.socket.room = 1
    frames = [bytes([number]) * 1000 for number in range(100)]
    with log_lines() as lines:
        rig.transport.send(PEER_TEXT, frames)
        rig.transport.send("192.0.2.7:1", frames[:5])
        rig.transport.flush()
    assert rig.groups == [(64, 1000)]
    assert rig.counter("packets_sent") == 64
    assert rig.counter("send_errors") == 36 + 5
    assert lines == []
    rig.socket.room = None
    rig.emit(PEER_TEXT, frames[:2])
    assert rig.groups[-1] == (2, 1000)


def test_a_full_socket_drops_the_rest_of_single_datagrams_too() -> None:
    rig = Rig()
    rig.socket.room = 2
    rig.emit(PEER_TEXT, [b"a", b"bb", b"ccc", b"dddd"])
    assert rig.counter("packets_sent") == 2
    assert rig.counter("send_errors") == 2


def test_a_full_socket_while_falling_back_drops_the_rest() -> None:
    rig = Rig()
    rig.socket.failures.append(errno.EIO)
    rig.socket.room = 1
    rig.emit(PEER_TEXT, [b"a" * 9] * 5)
    assert rig.counter("packets_sent") == 1
    assert rig.counter("send_errors") == 4


@pytest.mark.parametrize(
    "number", [errno.ECONNREFUSED, errno.EPERM, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EMSGSIZE, errno.ENOBUFS]
)
def test_trouble_on_the_way_is_counted_and_told_once_with_peer_and_cause(number: int) -> None:
    rig = Rig()
    rig.socket.failures.extend([number] * 3)
    with log_lines() as lines:
        for _ in range(3):
            rig.emit(PEER_TEXT, [b"frame"])
    assert rig.counter("send_errors") == 3
    assert len(lines) == 1
    assert PEER_TEXT in lines[0]
    assert os.strerror(number) in lines[0]
    rig.emit(PEER_TEXT, [b"frame"])
    assert rig.counter("packets_sent") == 1


def test_a_run_that_fails_for_another_reason_is_lost_as_a_whole_and_the_next_goes_out() -> None:
    rig = Rig()
    rig.socket.failures.append(errno.EPERM)
    rig.emit(PEER_TEXT, [b"a" * 1000] * 70)
    assert rig.counter("send_errors") == 64
    assert rig.counter("packets_sent") == 6
    assert rig.groups == [(6, 1000)]


def test_lines_about_many_peers_are_limited_and_resume_later_with_a_count() -> None:
    rig = Rig()
    with log_lines() as lines:
        for port in range(1, 101):
            rig.socket.failures.append(errno.EPERM)
            rig.emit(f"192.0.2.9:{port}", [b"frame"])
        assert len(lines) == 8
        rig.reactor.advance(60)
        rig.socket.failures.append(errno.EPERM)
        rig.emit("192.0.2.9:7", [b"frame"])
    assert len(lines) == 9
    assert "92 more" in lines[-1]
