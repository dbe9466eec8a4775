"""The gateway's name server: questions that are open when it ends."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher

from meshnode.gateway.listener import NameListener


@pytest.mark.parametrize("ends", ["it stops", "the answer fails"])
def test_a_question_ends_without_a_word_when_the_gateway_stops_and_not_when_it_fails(ends: str) -> None:
    said: list[LogEvent] = []
    replies: list[bytes] = []
    answers: list[Deferred[bytes | None]] = []

    def answer(message: bytes) -> Deferred[bytes | None]:
        answers.append(Deferred())
        return answers[-1]

    listener = NameListener(("::1", 0), answer, MemoryReactorClock())
    globalLogPublisher.addObserver(said.append)
    try:
        listener.ask(b"question", replies.append)
        if ends == "it stops":
            assert ensureDeferred(listener.stop()).called
            answers[0].callback(b"late")
        else:
            answers[0].errback(ValueError("a defect"))
    finally:
        globalLogPublisher.removeObserver(said.append)
    assert replies == []
    assert [str(event["log_failure"].value) for event in said] == ([] if ends == "it stops" else ["a defect"])
