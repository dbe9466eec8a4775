"""Answers become one line of JSON, in pieces, without anything the tools could not read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshnode.control.encoding import encode, failure, success

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


def line(data: dict[str, Any]) -> str:
    return b"".join(success(data)).decode()


def test_keys_are_sorted_and_the_status_comes_first() -> None:
    assert line({"b": {"z": 1, "a": 2}, "a": []}) == '{"status":"ok","data":{"a":[],"b":{"a":2,"z":1}}}\n'


def test_an_answer_without_keys_is_an_empty_object() -> None:
    assert line({}) == '{"status":"ok","data":{}}\n'


def test_an_iterator_becomes_a_list() -> None:
    assert line({"rows": iter([{"a": 1}, {"a": 2}]), "x": 1}) == (
        '{"status":"ok","data":{"rows":[{"a":1},{"a":2}],"x":1}}\n'
    )
    assert line({"rows": iter([])}) == '{"status":"ok","data":{"rows":[]}}\n'


def test_a_long_list_comes_in_many_pieces_made_one_by_one() -> None:
    made = 0

    def rows() -> Iterator[int]:
        nonlocal made
        for number in range(1000):
            made += 1
            yield number

    pieces = success({"rows": rows()})
    first = next(pieces)
    assert 0 < made < 100
    whole = json.loads(b"".join([first, *pieces]))
    assert whole["data"]["rows"] == list(range(1000))


def test_numbers_that_are_not_finite_become_null() -> None:
    data = {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (float("-inf"), 2)}, "e": iter([float("nan")])}
    assert json.loads(line(data))["data"] == {"a": None, "b": [None, 1.5], "c": {"d": [None, 2]}, "e": [None]}


def test_integers_stay_integers_and_floats_floats() -> None:
    assert encode({"u": 3, "f": 3.0, "b": True}) == '{"b":true,"f":3.0,"u":3}'


def test_errors_are_one_line_whatever_they_quote() -> None:
    text = b"".join(failure('unknown command: a\nb"\u0007\u2028µ')).decode()
    assert text.count("\n") == 1
    assert json.loads(text) == {"status": "error", "message": 'unknown command: a\nb"\u0007\u2028µ'}


@given(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS), max_size=5))
def test_whatever_is_answered_is_one_line_of_json(data: dict[str, Any]) -> None:
    text = b"".join(success(data))
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    assert set(json.loads(text)["data"]) == {key.encode("utf-8", "replace").decode() for key in data}
