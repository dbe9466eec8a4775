"""What waits to be sealed: in order within a flow, newcomers first, bounded."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from meshnode.ipv6.backlog import LIMIT, Backlog
from meshnode.ipv6.counters import TunCounters


def packet(flow: int, number: int = 0, ecn: int = 0) -> bytes:
    start = b"\x60" + bytes((ecn << 4,)) + number.to_bytes(4, "big")
    return start + bytes(34) + flow.to_bytes(4, "big")


def flow_of(packet: bytes) -> int:
    return int.from_bytes(packet[40:44], "big")


def number_of(packet: bytes) -> int:
    return int.from_bytes(packet[2:6], "big")


def backlog_of(*packets: bytes) -> Backlog:
    backlog = Backlog(TunCounters())
    backlog.add(list(packets))
    return backlog


def turns(batch: list[bytes]) -> list[tuple[int, int]]:
    """Who was served in a row, and how much."""
    return [(flow, len(list(served))) for flow, served in groupby(map(flow_of, batch))]


def test_a_single_flow_leaves_as_it_came() -> None:
    packets = [packet(1, number) for number in range(300)]
    backlog = backlog_of(*packets)
    assert backlog.take(128) + backlog.take(1000) == packets
    assert backlog.take(128) == []


def test_an_echo_waits_for_a_few_packets_of_a_bulk_transfer_and_no_more() -> None:
    backlog = backlog_of(*[packet(1, number) for number in range(500)])
    backlog.take(128)
    backlog.add([packet(1, 500), packet(2)])
    assert turns(backlog.take(128)) == [(2, 1), (1, 127)]


def test_an_echo_that_comes_with_the_first_of_a_bulk_transfer_waits_for_its_first_turn() -> None:
    backlog = backlog_of(*[packet(1, number) for number in range(500)], packet(2))
    assert turns(backlog.take(128)) == [(1, 8), (2, 1), (1, 119)]


def test_bulk_transfers_take_turns_of_what_fits_a_system_call() -> None:
    backlog = backlog_of(*[packet(flow, number) for number in range(200) for flow in (1, 2)])
    backlog.take(16)
    assert turns(backlog.take(256)) == [(1, 64), (2, 64), (1, 64), (2, 64)]


def test_beyond_the_limit_the_longest_flow_loses_its_oldest_packets() -> None:
    backlog = backlog_of(*[packet(1, number) for number in range(LIMIT)], *[packet(2, number) for number in range(10)])
    left = backlog.take(2 * LIMIT)
    assert (len(left), backlog.counters.backlog_dropped) == (LIMIT, 10)
    assert [number_of(p) for p in left if flow_of(p) == 1] == list(range(10, LIMIT))
    assert [number_of(p) for p in left if flow_of(p) == 2] == list(range(10))


def test_of_more_than_a_thousand_flows_of_one_packet_the_oldest_are_dropped() -> None:
    backlog = backlog_of(*[packet(flow) for flow in range(LIMIT + 50)])
    assert (backlog.waiting, backlog.counters.backlog_dropped) == (LIMIT, 50)
    assert [flow_of(p) for p in backlog.take(2 * LIMIT)] == list(range(50, LIMIT + 50))


def test_a_long_queue_is_marked_where_the_flow_understands_marks() -> None:
    capable, deaf = ([packet(flow, number, ecn) for number in range(400)] for flow, ecn in ((1, 2), (2, 0)))
    backlog = backlog_of(*capable, *deaf)
    taken = backlog.take(1000)
    assert [p for p in taken if flow_of(p) == 2] == deaf
    assert 0 < backlog.counters.backlog_marked < 10
    marked = [p for p in taken if flow_of(p) == 1 and p[1] >> 4 == 3]
    assert len(marked) == backlog.counters.backlog_marked
    assert [number_of(p) for p in taken if flow_of(p) == 1] == list(range(400))


def test_a_short_queue_is_not_marked() -> None:
    backlog = backlog_of(*[packet(1, number, ecn=2) for number in range(130)])
    backlog.take(1000)
    assert backlog.counters.backlog_marked == 0


@given(st.lists(st.tuples(st.lists(st.integers(1, 4), max_size=700), st.integers(0, 300)), max_size=12))
def test_nothing_is_lost_unseen_and_nothing_is_overtaken_within_its_flow(steps: list[tuple[list[int], int]]) -> None:
    backlog = Backlog(TunCounters())
    sent = 0
    taken: list[bytes] = []
    for flows, most in steps:
        backlog.add([packet(flow, sent + index) for index, flow in enumerate(flows)])
        sent += len(flows)
        assert backlog.waiting <= LIMIT
        batch = backlog.take(most)
        assert len(batch) <= most
        taken += batch
    taken += backlog.take(sent)
    assert len(taken) + backlog.counters.backlog_dropped == sent
    assert backlog.waiting == 0
    for flow in range(1, 5):
        numbers = [number_of(p) for p in taken if flow_of(p) == flow]
        assert numbers == sorted(numbers)


@given(st.lists(st.binary(max_size=60), max_size=300))
def test_any_bytes_come_out_again(noise: list[bytes]) -> None:
    backlog = backlog_of(*noise)
    assert sorted(backlog.take(1000)) == sorted(noise)
