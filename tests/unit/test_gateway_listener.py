"""The gateway's name server: questions that are open when it ends."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher

from meshnode.gateway.listener import MOST_OPEN, MOST_OPEN_OF_ONE, QUESTIONS_AT_ONCE, QUESTIONS_PER_SECOND, NameListener


def test_a_host_with_many_open_questions_leaves_room_for_others() -> None:
    waiting: list[Deferred[bytes | None]] = []

    def answer(message: bytes, client: str) -> Deferred[bytes | None]:
        waiting.append(Deferred())
        return waiting[-1]

    listener = NameListener(("::1", 0), answer, MemoryReactorClock())
    replies: list[bytes] = []
    for _ in range(2 * MOST_OPEN):
        listener.ask(b"question", "fd02::20", replies.append)
    assert (len(waiting), listener.dropped) == (MOST_OPEN_OF_ONE, 2 * MOST_OPEN - MOST_OPEN_OF_ONE)
    listener.ask(b"question", "fd02::21", replies.append)
    assert len(waiting) == MOST_OPEN_OF_ONE + 1

    waiting[0].callback(b"answer")
    assert replies == [b"answer"]
    listener.ask(b"question", "fd02::20", replies.append)
    assert len(waiting) == MOST_OPEN_OF_ONE + 2


def test_what_a_host_asks_beyond_its_rate_is_dropped_and_others_are_answered() -> None:
    def answer(message: bytes, client: str) -> Deferred[bytes | None]:
        return succeed(message)

    reactor = MemoryReactorClock()
    listener = NameListener(("::1", 0), answer, reactor)
    replies: list[bytes] = []

    def answered(client: str, questions: int) -> int:
        replies.clear()
        for _ in range(questions):
            listener.ask(b"question", client, replies.append)
        return len(replies)

    assert answered("fd02::20", 5000) == QUESTIONS_AT_ONCE
    assert answered("fd02::21", 10) == 10
    reactor.advance(2.0)
    assert answered("fd02::20", 5000) == 2 * QUESTIONS_PER_SECOND


@pytest.mark.parametrize("ends", ["it stops", "the answer fails"])
def test_a_question_ends_without_a_word_when_the_gateway_stops_and_not_when_it_fails(ends: str) -> None:
    said: list[LogEvent] = []
    replies: list[bytes] = []
    answers: list[Deferred[bytes | None]] = []

    def answer(message: bytes, client: str) -> Deferred[bytes | None]:
        answers.append(Deferred())
        return answers[-1]

    listener = NameListener(("::1", 0), answer, MemoryReactorClock())
    globalLogPublisher.addObserver(said.append)
    try:
        listener.ask(b"question", "fd02::20", replies.append)
        if ends == "it stops":
            assert ensureDeferred(listener.stop()).called
            answers[0].callback(b"late")
        else:
            answers[0].errback(ValueError("a defect"))
    finally:
        globalLogPublisher.removeObserver(said.append)
    assert replies == []
    assert [str(event["log_failure"].value) for event in said] == ([] if ends == "it stops" else ["a defect"])
