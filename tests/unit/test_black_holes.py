"""Peers that drop what is led through them: found out by neighbours, and gone around."""

from __future__ import annotations

from collections.abc import Set

import pytest

from meshnode.identity import Identity
from meshnode.mesh.black_holes import PROOF_SIZE, BlackHoles, patience_with
from meshnode.mesh.mmp import Health
from meshnode.mesh.neighbour import Neighbour, Neighbours
from meshnode.mesh.relay_record import (
    BLAME_SECS,
    EXEMPT_SECS,
    LEAST_HOLD,
    LONGER_WITH_STRANGERS,
    SILENT,
    SILENT_THOUGH_ALIVE,
    Evidence,
    RelayRecord,
    Silence,
)
from meshnode.wire.datagram import DATAGRAM_HEADER_SIZE, SessionDatagram
from tests.unit.mesh_rig import sorted_identities

ME, RELAY, OTHER, THIRD = (identity for identity in sorted_identities(4))
STEP = 0.25


class Watch:
    """Black holes as one node sees them, and neighbours that return what they are asked for, or do not."""

    def __init__(self, *peers: bytes) -> None:
        self.now = 100.0
        self.neighbours: Neighbours = {}
        for identity in (RELAY, OTHER, THIRD):
            self.neighbours[identity.node_addr] = Neighbour(identity.peer, 1472)
        self.asked: list[tuple[bytes, bytes]] = []
        self.returning: set[bytes] = set(self.neighbours)
        self.delivered = 1.0
        self.queue = 0.0
        self.reporting = self.speaking = True
        self.evidence = Evidence()
        self.count = 0
        self.holes = BlackHoles(ME.node_addr, self.neighbours, self._send, self._entropy, self._health)
        self.verdicts: list[tuple[float, bytes, bool]] = []

    def _entropy(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")

    def _send(self, peer: bytes, message: bytes) -> None:
        self.asked.append((peer, message))
        if peer in self.returning:
            self.holes.returned([message[DATAGRAM_HEADER_SIZE + 4 :]], self.now)

    def _health(self, _peer: bytes) -> Health | None:
        long_ago = 0.0
        return Health(
            self.delivered,
            self.now - self.queue if self.reporting else long_ago,
            self.now if self.speaking else long_ago,
        )

    def run(self, seconds: float, relays: Set[bytes] = frozenset((RELAY.node_addr,))) -> None:
        end = self.now + seconds
        while self.now < end:
            if self.now == int(self.now):
                self.holes.testify(self.evidence, self.now)
            if self.now == int(self.now) or (self.holes.due is not None and self.now >= self.holes.due):
                self.holes.look(relays, self.now)
                self.verdicts += [(self.now, *verdict) for verdict in self.holes.take_verdicts()]
            self.now += STEP

    def is_given_up(self, identity: object = RELAY) -> bool:
        return self.neighbours[identity.node_addr].black_hole  # type: ignore[attr-defined]


def test_a_question_is_a_datagram_from_us_to_us_and_looks_like_any_session_message() -> None:
    watch = Watch()
    watch.run(1)
    [(peer, message)] = watch.asked
    datagram = SessionDatagram.parse(message[1:])
    assert (peer, datagram.source, datagram.destination) == (RELAY.node_addr, ME.node_addr, ME.node_addr)
    assert datagram.payload[:4] == b"\0\0" + (len(datagram.payload) - 4).to_bytes(2, "little")
    assert datagram.ttl > 1


def test_only_relays_in_use_are_asked_every_other_second_and_never_twice_the_same() -> None:
    watch = Watch()
    watch.run(20)
    assert {peer for peer, _ in watch.asked} == {RELAY.node_addr}
    assert 7 <= len(watch.asked) <= 10
    assert len({message for _, message in watch.asked}) == len(watch.asked)
    assert watch.verdicts == []


def test_a_relay_that_ceases_to_return_them_is_given_up_within_five_seconds() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    began = watch.now
    watch.run(10)
    [(when, peer, given_up)] = watch.verdicts
    assert (peer, given_up) == (RELAY.node_addr, True)
    assert when - began <= 5.0
    assert watch.is_given_up()


def test_one_that_never_returned_any_is_given_more_time() -> None:
    watch = Watch()
    watch.returning.clear()
    began = watch.now
    watch.run(30)
    [(when, _, given_up)] = watch.verdicts
    assert given_up
    assert 0.5 * (LONGER_WITH_STRANGERS * patience_with(Health(1.0, 0.0, 0.0)) - 1) <= when - began <= 12


@pytest.mark.parametrize("delivered", [0.3, 0.6, 0.9])
def test_the_more_a_link_loses_the_more_may_go_unanswered(delivered: float) -> None:
    patience = patience_with(Health(delivered, 0.0, 0.0))
    assert (1 - delivered) ** patience <= 1e-6 < (1 - delivered) ** (patience - 1)


def test_a_peer_that_stands_still_or_a_silent_link_says_nothing() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.speaking = False
    watch.run(10)
    watch.neighbours[RELAY.node_addr].doubtful = True
    watch.run(10)
    assert watch.verdicts == []
    watch.neighbours[RELAY.node_addr].doubtful = False
    watch.speaking = True
    watch.returning.add(RELAY.node_addr)
    watch.run(10)
    assert watch.verdicts == []


def test_a_link_whose_reports_do_not_come_is_given_more_time() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.reporting = False
    watch.run(5)
    assert watch.verdicts == []
    watch.run(10)
    assert watch.is_given_up()


def test_questions_that_wait_in_a_full_uplink_are_not_counted_until_they_have_arrived() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.queue = 6.0
    watch.run(6)
    assert watch.verdicts == []
    watch.run(4)
    assert watch.is_given_up()


def test_an_answer_that_took_hours_as_the_machine_slept_makes_it_no_less_watchful() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.run(0.5)
    watch.now += 7200.0
    watch.returning.add(RELAY.node_addr)
    watch.run(60)
    watch.returning.clear()
    watch.run(10)
    assert watch.is_given_up()


def test_what_was_suspected_before_the_machine_slept_is_not_held_against_anybody() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr))
    watch.run(2)
    watch.now += 20.0
    watch.holes.woke()
    watch.run(2)
    assert watch.verdicts == []
    watch.run(BLAME_SECS)
    assert watch.is_given_up()


def test_who_was_given_up_is_not_asked_more_often_than_others() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.run(10)
    assert watch.is_given_up()
    watch.asked.clear()
    watch.run(100, relays=frozenset())
    assert len(watch.asked) == 50


def test_no_answer_counts_twice_and_what_was_never_asked_counts_not_at_all() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.run(1.5)
    old = watch.asked[0][1][DATAGRAM_HEADER_SIZE + 4 :]
    for _ in range(20):
        watch.holes.returned([old, b"", bytes(PROOF_SIZE)], watch.now)
        watch.run(0.25)
    assert watch.is_given_up()


def test_relays_that_send_the_answer_by_a_better_way_are_relied_on() -> None:
    """Two of them may choose the same third neighbour, which brings both answers at once."""
    watch = Watch()
    relays = frozenset((RELAY.node_addr, OTHER.node_addr))
    watch.returning.clear()
    for _ in range(100):
        watch.run(0.25, relays)
        watch.holes.returned([message[DATAGRAM_HEADER_SIZE + 4 :] for _, message in watch.asked[-2:]], watch.now)
    assert {peer for peer, _ in watch.asked} == relays
    assert watch.verdicts == []


def test_it_is_relied_on_again_after_a_minute_of_answers_and_after_two_when_it_happens_again() -> None:
    watch = Watch()
    watch.run(10)
    for hold in (LEAST_HOLD, 2 * LEAST_HOLD):
        watch.returning.clear()
        watch.run(6)
        assert watch.is_given_up()
        given_up_at = watch.verdicts[-1][0]
        watch.returning.add(RELAY.node_addr)
        watch.run(hold + 5, relays=frozenset())
        assert watch.verdicts[-1][1:] == (RELAY.node_addr, False)
        assert hold <= watch.verdicts[-1][0] - given_up_at <= hold + 5


def test_who_does_not_relay_again_stays_given_up_and_dialling_anew_does_not_help() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.run(6)
    watch.run(600, relays=frozenset())
    assert len(watch.verdicts) == 1
    again = Neighbour(RELAY.peer, 1472)
    watch.holes.met(again)
    assert again.black_hole


def _silent(weight: int, *relays: bytes, count: int = 1, first: int = 0) -> list[Silence]:
    """So many sessions, of remotes numbered from `first`."""
    return [Silence(b"remote%2d" % number, frozenset(relays), weight) for number in range(first, first + count)]


def _heard(by: object, number: int = 0) -> dict[bytes, bytes]:
    """That a remote is heard through a neighbour."""
    return {b"remote%2d" % number: by.node_addr}  # type: ignore[attr-defined]


def test_a_sly_relay_is_given_up_when_a_session_through_it_is_silent_though_its_remote_is_alive() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(SILENT_THOUGH_ALIVE, RELAY.node_addr))
    began = watch.now
    watch.run(20)
    when, peer, given_up = watch.verdicts[0]
    assert (peer, given_up) == (RELAY.node_addr, True)
    assert BLAME_SECS <= when - began <= BLAME_SECS + 2


def test_remotes_that_may_be_gone_are_evidence_when_they_are_several() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(SILENT, RELAY.node_addr, count=3))
    watch.run(20)
    assert watch.verdicts == []
    watch.evidence = Evidence(_silent(SILENT, RELAY.node_addr, count=4))
    watch.run(8)
    assert watch.is_given_up()


def test_nobody_is_given_up_through_whom_others_are_heard() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(SILENT_THOUGH_ALIVE, RELAY.node_addr, count=3), _heard(RELAY, 9))
    watch.run(30)
    assert watch.verdicts == []


def test_blame_falls_on_what_silent_sessions_have_in_common() -> None:
    watch = Watch()
    relay, other, third = RELAY.node_addr, OTHER.node_addr, THIRD.node_addr
    watch.evidence = Evidence(_silent(4, relay, other) + _silent(4, relay, third, first=1))
    watch.run(8)
    assert [verdict[1:] for verdict in watch.verdicts] == [(relay, True)]


def test_a_verdict_that_did_not_help_the_sessions_is_taken_back_and_not_repeated_at_once() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr))
    watch.run(30)
    assert [verdict[1:] for verdict in watch.verdicts] == [(RELAY.node_addr, True), (RELAY.node_addr, False)]
    watch.run(20)
    assert len(watch.verdicts) == 2


def test_a_silent_link_is_reason_enough_for_the_silence_behind_it_and_so_is_one_that_ended() -> None:
    watch = Watch()
    watch.run(5)
    watch.evidence = Evidence(_silent(SILENT, RELAY.node_addr, count=6))
    relay = watch.neighbours[RELAY.node_addr]
    relay.doubtful = True
    watch.run(10)
    relay.doubtful = False
    watch.run(BLAME_SECS - 1)
    del watch.neighbours[RELAY.node_addr]
    watch.run(10)
    watch.neighbours[RELAY.node_addr] = relay
    watch.run(BLAME_SECS - 1)
    assert watch.verdicts == []
    watch.run(3)
    assert watch.is_given_up()


def test_a_session_that_is_heard_through_it_again_clears_who_was_given_up_as_none_was() -> None:
    """Something further away was broken, or somebody fell silent on purpose."""
    watch = Watch()
    watch.evidence = Evidence(_silent(SILENT, RELAY.node_addr, count=6))
    watch.run(8)
    assert watch.is_given_up()
    watch.evidence = Evidence((), _heard(RELAY, 9))
    watch.run(2)
    assert not watch.is_given_up()
    watch.evidence = Evidence(_silent(SILENT, RELAY.node_addr, count=6))
    watch.run(EXEMPT_SECS - 3)
    assert [given_up for _, _, given_up in watch.verdicts] == [True, False]


def test_sessions_do_not_clear_who_returns_nothing() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.evidence = Evidence((), _heard(RELAY, 9))
    watch.run(30)
    assert [given_up for _, _, given_up in watch.verdicts] == [True]


def test_a_verdict_that_helped_stays() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr, count=2))
    watch.run(8)
    assert watch.is_given_up()
    watch.evidence = Evidence(_silent(4, OTHER.node_addr, first=5), _heard(OTHER))
    watch.run(40)
    assert [verdict[1:] for verdict in watch.verdicts] == [(RELAY.node_addr, True)]


@pytest.mark.parametrize("heard", [{}, {b"remote 0": OTHER.node_addr}])
def test_one_that_helped_nobody_is_taken_back_whoever_ceased_to_complain_meanwhile(heard: dict[bytes, bytes]) -> None:
    """A remote may be heard all the time and not hear us."""
    watch = Watch()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr, count=2), heard)
    watch.run(8)
    assert watch.is_given_up()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr), heard)
    watch.run(13)
    assert not watch.is_given_up()


def test_one_is_taken_back_also_when_nothing_leads_through_the_neighbour_any_more() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr))
    watch.run(8, relays=frozenset())
    assert watch.is_given_up()
    watch.run(13, relays=frozenset())
    assert not watch.is_given_up()


def test_one_that_helped_somebody_for_a_moment_stays() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr, count=2))
    watch.run(8)
    watch.evidence = Evidence(_silent(4, RELAY.node_addr, first=1), _heard(OTHER))
    watch.run(2)
    watch.evidence = Evidence(_silent(4, RELAY.node_addr, count=2))
    watch.run(30)
    assert [given_up for _, _, given_up in watch.verdicts] == [True]


def test_nobody_else_is_blamed_while_it_may_yet_help_that_one_was_given_up() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr, OTHER.node_addr))
    watch.run(16)
    assert len(watch.verdicts) == 1


def test_blame_that_is_left_does_not_fall_on_who_was_given_up_already() -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(4, OTHER.node_addr))
    watch.run(8)
    watch.evidence = Evidence((), _heard(THIRD))
    watch.run(15)
    watch.evidence = Evidence(_silent(4, RELAY.node_addr, OTHER.node_addr, first=5))
    watch.run(8)
    assert [verdict[1:] for verdict in watch.verdicts] == [(OTHER.node_addr, True), (RELAY.node_addr, True)]


def test_what_went_unanswered_before_the_link_fell_silent_is_forgotten() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.run(2)
    watch.neighbours[RELAY.node_addr].doubtful = True
    watch.run(5)
    watch.neighbours[RELAY.node_addr].doubtful = False
    watch.run(1.5)
    assert watch.verdicts == []


def test_who_returned_nothing_stays_given_up_for_its_time_whoever_is_heard_through_it() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.run(8)
    watch.returning.add(RELAY.node_addr)
    watch.evidence = Evidence((), _heard(RELAY))
    watch.run(LEAST_HOLD - 10)
    assert [given_up for _, _, given_up in watch.verdicts] == [True]


@pytest.mark.parametrize("heard_by", [RELAY, OTHER], ids=["taken back", "served its time"])
def test_who_is_relied_on_again_may_be_blamed_again_later(heard_by: Identity) -> None:
    watch = Watch()
    watch.evidence = Evidence(_silent(4, RELAY.node_addr))
    watch.run(8)
    watch.evidence = Evidence((), _heard(heard_by))
    watch.run(LEAST_HOLD + 5)
    watch.evidence = Evidence((), _heard(RELAY))
    watch.run(5)
    watch.evidence = Evidence(_silent(4, RELAY.node_addr))
    watch.run(8)
    assert [given_up for _, _, given_up in watch.verdicts] == [True, False, True]


@pytest.mark.parametrize("repeats", [0, 1])
def test_who_has_to_be_asked_twice_each_time_is_not_relied_on_again(repeats: int) -> None:
    record, now = RelayRecord(), 1000.0
    record.given_up_at = now
    for _ in range(100):
        for _ in range(1 + repeats):
            now += 2.0
            record.ask(lambda: bytes(PROOF_SIZE), None, now)
        record.answered(now)
        record.judge(patience_with(None), None, now)
    assert (record.given_up_at is not None) == bool(repeats)


def test_a_question_counts_though_nothing_arrived_after_it_and_time_stamps_are_cut_off() -> None:
    record = RelayRecord()
    patience = 3
    for number in range(3 * patience + 1):
        asked = 100.0009 + number
        record.ask(lambda: bytes(PROOF_SIZE), Health(1.0, 100.0, asked), asked)
        record.judge(patience, Health(1.0, asked - 1.0009, asked), asked)
    assert record.given_up_at == pytest.approx(109.0, abs=0.1)


def test_strangers_that_come_and_go_are_forgotten_and_those_given_up_last() -> None:
    watch = Watch()
    watch.run(10)
    watch.returning.clear()
    watch.run(6)
    assert watch.is_given_up()
    guilty = watch.neighbours.pop(RELAY.node_addr)
    for number in range(1500):
        if number == 700:
            watch.evidence = Evidence(_silent(4, OTHER.node_addr))
            watch.run(8)
            watch.evidence = Evidence()
            later = watch.neighbours.pop(OTHER.node_addr)
        address = number.to_bytes(16, "big")
        watch.neighbours[address] = Neighbour(THIRD.peer, 1472)
        watch.holes.look({address}, watch.now)
        del watch.neighbours[address]
    for neighbour in (guilty, later):
        neighbour.black_hole = False
        watch.holes.met(neighbour)
        assert neighbour.black_hole
    assert len(watch.holes._records) <= 1026
