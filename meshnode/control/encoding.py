"""Answers as text: one line of JSON, made in pieces so that a long one never blocks the node (spec 06 section 1.1)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

Answer = Mapping[str, Any]
"""The `data` of an answer. A value that is an iterator becomes a list whose rows are made while they are sent."""

TEXTS_PER_PIECE = 48

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def success(data: Answer) -> Iterator[bytes]:
    """The line for an answer in pieces of bounded size, each made when it is asked for."""
    texts = _texts(data)
    while piece := "".join(islice(texts, TEXTS_PER_PIECE)):
        yield piece.encode("utf-8", "replace")


def failure(message: str) -> Iterator[bytes]:
    """The line for an error."""
    yield f'{{"status":"error","message":{encode(message)}}}\n'.encode("utf-8", "replace")


def encode(value: object) -> str:
    """One value as JSON; numbers that are not finite become null."""
    try:
        return _encoder.encode(value)
    except ValueError:
        return _encoder.encode(_finite(value))


def _texts(data: Answer) -> Iterator[str]:
    yield '{"status":"ok","data":{'
    for position, key in enumerate(sorted(data)):
        value = data[key]
        yield f"{',' if position else ''}{encode(key)}:"
        if isinstance(value, Iterator):
            yield from _rows(value)
        else:
            yield encode(value)
    yield "}}\n"


def _rows(rows: Iterator[object]) -> Iterator[str]:
    yield "["
    for number, row in enumerate(rows):
        yield f"{',' if number else ''}{encode(row)}"
    yield "]"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
