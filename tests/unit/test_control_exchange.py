"""One connection of the control socket: every line recorded from live daemons, time limits, slow and rude clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from meshnode.control.commands import CommandError
from meshnode.control.encoding import Answer
from meshnode.control.exchange import LINE_LIMIT, LINGER_SECS, Phase
from tests.unit.control_rig import Dialogue, TableAnswers
from tests.unit.udp_rig import log_lines
from tests.unit.vectors import load, names

CASES = [case for case in load("control/envelope")["cases"] if not case["request"].startswith("<")]
ASK = b'{"command":"show_connections"}\n'


def recorded_answers() -> TableAnswers:
    acl = json.loads(next(case["answer_line"] for case in CASES if case["case"] == "array form of the struct"))["data"]
    return TableAnswers({"show_acl": acl, "show_connections": {"connections": []}, "show_links": {"links": []}})


def request_bytes(case: dict[str, Any]) -> bytes:
    encoding = "latin-1" if "latin-1" in case["case"] else "utf-8"
    request: bytes = case["request"].encode(encoding)
    return request


def message(dialogue: Dialogue) -> str:
    answer = json.loads(dialogue.line)
    assert set(answer) == {"status", "message"}
    assert answer["status"] == "error"
    text: str = answer["message"]
    return text


@pytest.mark.parametrize("case", CASES, ids=names(CASES, "case"))
def test_what_was_recorded_is_answered_alike(case: dict[str, Any]) -> None:
    dialogue = Dialogue(recorded_answers())
    dialogue.say(request_bytes(case), half_close=case["half_close"])
    dialogue.clock.advance(5)
    expected = case["answer_line"].encode()
    if b'"invalid request: ' in expected:
        assert message(dialogue).startswith("invalid request: ")
    else:
        assert dialogue.line == expected


def test_a_line_may_come_in_pieces() -> None:
    dialogue = Dialogue(recorded_answers())
    for piece in (b'{"comm', b'and":"show_conn', b'ections"}\n'):
        assert dialogue.line == b""
        dialogue.say(piece)
    assert dialogue.line == b'{"status":"ok","data":{"connections":[]}}\n'


@pytest.mark.parametrize("size", [LINE_LIMIT - 1, LINE_LIMIT])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_of_the_limit_is_served(size: int, end: bytes) -> None:
    dialogue = Dialogue(recorded_answers()).say(ASK.strip().ljust(size - len(end)) + end, half_close=True)
    assert json.loads(dialogue.line)["status"] == "ok"


@pytest.mark.parametrize("piece", [1, 100, 1 << 16])
def test_one_byte_more_is_refused_before_the_line_ends(piece: int) -> None:
    dialogue = Dialogue(recorded_answers())
    for _ in range(LINE_LIMIT // piece):
        dialogue.say(b" " * piece)
    dialogue.say(b" " * max(1, LINE_LIMIT + 1 - LINE_LIMIT // piece * piece))
    assert message(dialogue) == "read error: request too large"


def test_a_newline_after_the_limit_does_not_help() -> None:
    assert message(Dialogue().say(b" " * LINE_LIMIT + b"\n")) == "read error: request too large"


def test_silence_ends_after_five_seconds() -> None:
    dialogue = Dialogue().say(b"{")
    dialogue.clock.advance(4.9)
    assert dialogue.line == b""
    dialogue.clock.advance(0.1)
    assert message(dialogue) == "read timeout"


def test_the_deadline_is_for_the_whole_line() -> None:
    dialogue = Dialogue()
    for _ in range(5):
        dialogue.clock.advance(1)
        dialogue.say(b" ")
    assert message(dialogue) == "read timeout"


def test_only_the_first_line_counts() -> None:
    dialogue = Dialogue(recorded_answers())
    dialogue.say(ASK + b"\xff\xff\n" + ASK)
    dialogue.say(ASK, half_close=True)
    assert dialogue.answers.asked == [("show_connections", None)]
    assert dialogue.line.endswith(b"}\n")


def test_a_client_that_closed_its_half_is_answered_and_closed() -> None:
    dialogue = Dialogue(recorded_answers()).say(ASK.strip(), half_close=True)
    assert json.loads(dialogue.line)["status"] == "ok"
    assert dialogue.wire.end == "closed"


def test_a_client_that_goes_on_sending_can_still_read_its_answer() -> None:
    dialogue = Dialogue(recorded_answers()).say(ASK)
    assert dialogue.wire.end == "half-closed"
    dialogue.say(b"x" * 100_000)
    dialogue.clock.advance(LINGER_SECS)
    assert dialogue.wire.end == "aborted"


def test_a_client_that_has_read_its_answer_closes_for_both() -> None:
    dialogue = Dialogue(recorded_answers()).say(ASK).say(b"", half_close=True)
    assert dialogue.wire.end == "closed"


def test_a_half_close_while_the_answer_is_sought_changes_nothing() -> None:
    waiting: Deferred[Answer] = Deferred()
    dialogue = Dialogue(TableAnswers({"slow": waiting})).say(b'["slow"]\n').say(b"", half_close=True)
    assert dialogue.wire.end is None
    waiting.callback({"a": 1})
    assert dialogue.line == b'{"status":"ok","data":{"a":1}}\n'
    assert dialogue.wire.end == "closed"


def test_a_command_that_takes_too_long_is_given_up_and_its_late_answer_ignored() -> None:
    waiting: Deferred[Answer] = Deferred()
    dialogue = Dialogue(TableAnswers({"slow": waiting})).say(b'["slow"]\n')
    dialogue.clock.advance(5)
    assert message(dialogue) == "query timeout"
    waiting.callback({"a": 1})
    assert message(dialogue) == "query timeout"


def test_a_command_that_fails_says_why() -> None:
    raised = Dialogue(TableAnswers({"bad": CommandError("no such peer")})).say(b'["bad"]\n')
    failed: Deferred[Answer] = Deferred()
    later = Dialogue(TableAnswers({"bad": failed})).say(b'["bad"]\n')
    failed.errback(CommandError("no such peer"))
    assert message(raised) == message(later) == "no such peer"


def test_a_command_that_crashes_is_answered_and_logged() -> None:
    with log_lines() as lines:
        dialogue = Dialogue(TableAnswers({"bad": ZeroDivisionError("oops")})).say(b'["bad"]\n')
    assert message(dialogue) == "internal error: ZeroDivisionError"
    assert any("bad" in line for line in lines)


def test_rows_that_crash_end_the_connection() -> None:
    def rows() -> Any:
        yield 1
        raise ZeroDivisionError

    with log_lines() as lines:
        dialogue = Dialogue(TableAnswers({"bad": {"rows": rows()}})).say(b'["bad"]\n')
    assert dialogue.wire.end == "aborted"
    assert lines


def test_a_long_answer_is_made_only_as_fast_as_it_is_taken() -> None:
    made = []

    def rows() -> Any:
        for number in range(10_000):
            made.append(number)
            yield number

    dialogue = Dialogue(TableAnswers({"long": {"rows": rows()}}), is_slow=True).say(b'["long"]\n')
    assert 0 < len(made) < 100
    before = len(made)
    dialogue.wire.take()
    assert before < len(made) < 200


def test_a_client_that_does_not_read_is_dropped() -> None:
    answers = TableAnswers({"long": {"rows": iter(range(10_000))}})
    dialogue = Dialogue(answers, is_slow=True).say(b'["long"]\n')
    dialogue.clock.advance(4)
    dialogue.wire.take()
    dialogue.clock.advance(4)
    assert dialogue.wire.end is None
    dialogue.clock.advance(1)
    assert dialogue.wire.end == "aborted"


def test_a_client_that_vanishes_leaves_nothing_behind() -> None:
    waiting: Deferred[Answer] = Deferred()
    dialogue = Dialogue(TableAnswers({"slow": waiting})).say(b'["slow"]\n')
    dialogue.exchange.connectionLost()
    waiting.callback({})
    assert dialogue.closed == [dialogue.exchange]
    assert dialogue.line == b""
    assert dialogue.clock.getDelayedCalls() == []


@pytest.mark.parametrize("phase", ["reading", "working"])
def test_room_is_made_at_once(phase: str) -> None:
    waiting: Deferred[Answer] = Deferred()
    dialogue = Dialogue(TableAnswers({"slow": waiting}))
    if phase == "working":
        dialogue.say(b'["slow"]\n')
    dialogue.exchange.give_up("too many connections")
    if phase == "reading":
        assert message(dialogue) == "too many connections"
        assert dialogue.wire.end == "closed"
    else:
        assert dialogue.wire.end == "aborted"


@given(st.lists(st.binary(max_size=3000), max_size=4), st.booleans(), st.booleans())
def test_any_bytes_in_any_pieces_get_one_json_line(pieces: list[bytes], newline: bool, half_close: bool) -> None:
    dialogue = Dialogue(recorded_answers())
    for piece in pieces:
        dialogue.say(piece)
    if newline:
        dialogue.say(b"\n")
    if half_close:
        dialogue.say(b"", half_close=True)
    dialogue.clock.advance(5)
    assert dialogue.line.endswith(b"\n")
    assert json.loads(dialogue.line)["status"] in ("ok", "error")
    dialogue.clock.advance(LINGER_SECS)
    assert dialogue.wire.end in ("closed", "aborted")
    assert dialogue.exchange.phase is Phase.CLOSING
