"""Reading one request line: what is a request, and what is said about what is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.control.request import MOST_NESTING, Request, RequestError, parse_request

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=10,
)  # fmt: skip


def problem(line: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        parse_request(line)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b'{"command":"show_acl"}\n', Request("show_acl")),
        (b'{"command":"show_acl","params":null}', Request("show_acl")),
        (b' \t{"command":"show_acl","params":[1],"id":7} \r\n', Request("show_acl", [1])),
        (b'["show_acl"]', Request("show_acl")),
        (b'["show_acl",{"a":1.5}]', Request("show_acl", {"a": 1.5})),
        (b'{"command":" show_acl "}', Request(" show_acl ")),
        ('{"command":"µ"}'.encode(), Request("µ")),
        (b'{"command":"x","params":"[[[["}', Request("x", "[[[[")),
        (b'{"command":"x","params":"\\"[\\\\"}', Request("x", '"[\\')),
    ],
)
def test_requests_come_in_several_spellings(line: bytes, request_: Request) -> None:
    assert parse_request(line) == request_


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "EOF while parsing a value"),
        (b"hello", "expecting value at line 1 column 1"),
        (b'{"command":"show_acl",}', ""),
        (b'{"command":"show_acl"} x', "extra data at line 1 column 24"),
        (b"{}", "missing field `command`"),
        (b'{"command":5}', "invalid type: integer, expected a string as `command`"),
        (b'{"command":null}', "invalid type: null"),
        (b'{"command":{}}', "invalid type: object"),
        (b"[[]]", "invalid type: list"),
        (b'"show_status"', "invalid type: string, expected an object"),
        (b"5", "invalid type: integer"),
        (b"true", "invalid type: boolean"),
        (b"[]", "invalid length 0"),
        (b"[1,2,3]", "invalid length 3"),
        (b'{"command":"a","command":"b"}', "duplicate field `command`"),
        (b'{"command":"a","params":1,"params":1}', "duplicate field `params`"),
        (b'{"command":"a","params":1e999}', "number out of range"),
        (b'{"command":"a","params":-1e999}', "number out of range"),
        (b'{"command":"a","params":' + b"9" * 400 + b"}", "number out of range"),
        (b'{"command":"a","params":NaN}', "expected value, found NaN"),
        (b'{"command":"\\ud800"}', "lone surrogate"),
        (b'{"command":"a","x":["\\udc00"]}', "lone surrogate"),
        (b'{"command":"a\x00"}', ""),
        (b'\xef\xbb\xbf{"command":"a"}', ""),
    ],
)
def test_what_is_no_request_is_refused_with_its_reason(line: bytes, reason: str) -> None:
    assert problem(line).startswith(f"invalid request: {reason}")


def test_bytes_that_are_not_utf_8_are_a_read_error() -> None:
    assert problem(b'{"command":"\xff"}') == "read error: stream did not contain valid UTF-8"


def test_other_keys_may_repeat_and_inner_commands_do_not_count() -> None:
    line = b'{"command":"a","x":1,"x":2,"params":{"command":1,"command":2}}'
    assert parse_request(line) == Request("a", {"command": 2})


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> bytes:
        return b'{"command":"a","params":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert parse_request(nested(MOST_NESTING)).command == "a"
    assert "recursion limit" in problem(nested(MOST_NESTING + 1))
    assert "recursion limit" in problem(b"[" * 4096)


@given(st.text(st.characters(codec="utf-8"), max_size=30), JSON_VALUES)
def test_every_request_that_is_written_is_read_back(command: str, params: object) -> None:
    line = json.dumps({"command": command, "params": params}).encode()
    assert parse_request(line + b"\n") == Request(command, params)


@given(st.binary(max_size=4096) | st.text(alphabet='[]{}":,\\ u0dnul1e9-."command', max_size=200).map(str.encode))
def test_any_bytes_are_a_request_or_a_request_error(line: bytes) -> None:
    try:
        request = parse_request(line)
    except RequestError:
        return
    assert isinstance(request.command, str)
