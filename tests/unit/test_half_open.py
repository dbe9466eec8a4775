"""Who waits for proof, and who has to make room for whom."""

from __future__ import annotations

import pytest

from meshnode.mesh.session import half_open
from meshnode.mesh.session.half_open import HalfOpen

from .session_rig import ACK, Net, Node, pair
from .test_session_bounds import LINK, flood

QUIET, LOUD = b"q" * 16, b"l" * 16


def _names(count: int, first: int = 0) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(first, first + count)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_open, "HALF_OPEN_PER_LINK", 4)
    monkeypatch.setattr(half_open, "MAX_HALF_OPEN", 6)
    monkeypatch.setattr(half_open, "BUSY", 3)


def test_the_oldest_through_the_same_neighbour_makes_room() -> None:
    waiting = HalfOpen()
    assert [waiting.add(name, LOUD) for name in _names(6)] == [None] * 4 + _names(2)
    assert len(waiting) == 4


def test_in_a_full_table_one_through_the_neighbour_with_the_most_makes_room() -> None:
    waiting = HalfOpen()
    quiet, loud = _names(2), _names(4, first=10)
    for name in quiet:
        waiting.add(name, QUIET)
    for name in loud:
        waiting.add(name, LOUD)
    assert waiting.add(b"another".ljust(16), QUIET) == loud[0]
    assert len(waiting) == 6


def test_an_address_is_counted_once_where_it_was_answered_last() -> None:
    waiting = HalfOpen()
    first, second = _names(2)
    for name in (first, second, first):
        waiting.add(name, LOUD)
    assert len(waiting) == 2
    for name in _names(2, first=10):
        waiting.add(name, LOUD)
    assert waiting.add(b"another".ljust(16), LOUD) == second
    waiting.add(first, QUIET)
    waiting.discard(first)
    assert not waiting.busy(LOUD)
    assert len(waiting) == 3


def test_neighbours_that_nobody_waits_through_are_forgotten() -> None:
    waiting = HalfOpen()
    for name in _names(3):
        waiting.add(name, name)
        waiting.discard(name)
        waiting.discard(name)
    assert waiting._by_link == {}


def _waiting(node: Node) -> HalfOpen:
    return node.layer._core.half_open


def _met() -> tuple[Net, Node, Node]:
    net, a, b = pair()
    b.open(a)
    net.run(0.1)
    return net, a, b


def test_who_has_proved_itself_waits_no_more() -> None:
    _net, a, b = _met()
    assert a.session(b).established
    assert len(_waiting(a)) == 0


def test_who_gave_up_waits_no_more() -> None:
    net, a, _b = pair()
    flood(a, 3, net.now)
    assert len(_waiting(a)) == 3
    net.run(40)
    assert a.layer.sessions == {}
    assert len(_waiting(a)) == 0


def test_in_a_storm_answers_are_not_repeated_by_themselves() -> None:
    net, a, _b = pair()
    flood(a, 3, net.now)
    net.run(1.2)
    assert a.phases().count(ACK) > 3
    flood(a, 4, net.now)
    a.sent.clear()
    net.run(5)
    assert a.phases() == []


@pytest.mark.parametrize("is_waited_for", [False, True])
def test_whoever_something_waits_for_does_not_make_room(is_waited_for: bool) -> None:
    net, a, b = pair()
    net.lose = lambda source, message: True
    b.open(a)
    _, setup = b.sent[-1]
    a.layer.receive(b.address, LINK, [setup], 0, 1400, False, net.now)
    if is_waited_for:
        a.layer.identities.insert(b.identity.peer, net.now)
        a.send(b, b"hello")
    flood(a, 20, net.now + 1)
    assert (b.address in a.layer.sessions) == is_waited_for
