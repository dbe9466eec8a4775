"""One request of a control client: a line of JSON (spec 06 section 1.1)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

MOST_NESTING = 127
_LARGEST_INTEGER = 2**64 - 1
_KINDS = {str: "string", bool: "boolean", int: "integer", float: "floating point number", type(None): "null"}


class RequestError(ValueError):
    """A line that is no request; the text is the answer's `message`."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `params` is any JSON value; None when absent or null."""

    command: str
    params: Any = None


def parse_request(line: bytes) -> Request:
    """Read one line, its newline included or not. Raises `RequestError`."""
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        raise RequestError("read error: stream did not contain valid UTF-8") from None
    value = parse_value(text)
    return _from_list(value) if isinstance(value, list) else _from_object(value)


def parse_value(text: str) -> Any:
    """Read one JSON value as strictly as the recorded daemons do. Raises `RequestError`."""
    if not text:
        _refuse("EOF while parsing a value at line 1 column 0")
    if _nesting(text) > MOST_NESTING:
        _refuse(f"recursion limit exceeded: at most {MOST_NESTING} levels")
    try:
        value = _decoder.decode(text)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        _refuse(f"{error.msg[:1].lower()}{error.msg[1:]} at line {error.lineno} column {error.colno}")
    except UnicodeEncodeError:
        _refuse("lone surrogate in a string")
    return value


def _refuse(reason: str) -> NoReturn:
    raise RequestError(f"invalid request: {reason}") from None


def _nesting(text: str) -> int:
    """How deep lists and objects are nested; brackets inside strings do not count."""
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys were given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.repeated = {name for name in ("command", "params") if names.count(name) > 1}


def _integer(text: str) -> int | float:
    value = int(text)
    return value if -(2**63) <= value <= _LARGEST_INTEGER else _number(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        _refuse("number out of range")
    return value


def _constant(text: str) -> NoReturn:
    _refuse(f"expected value, found {text}")


_decoder = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def _from_object(value: Any) -> Request:
    if not isinstance(value, _Object):
        _refuse(f"invalid type: {_KINDS[type(value)]}, expected an object with `command`")
    for name in sorted(value.repeated):
        _refuse(f"duplicate field `{name}`")
    if "command" not in value:
        _refuse("missing field `command`")
    return Request(_command(value["command"]), value.get("params"))


def _from_list(value: list[Any]) -> Request:
    """The short form: the command, and perhaps its parameters."""
    if not 1 <= len(value) <= 2:
        _refuse(f"invalid length {len(value)}, expected [command] or [command, params]")
    return Request(_command(value[0]), value[1] if len(value) == 2 else None)


def _command(value: Any) -> str:
    if not isinstance(value, str):
        kind = "object" if isinstance(value, dict) else "list" if isinstance(value, list) else _KINDS[type(value)]
        _refuse(f"invalid type: {kind}, expected a string as `command`")
    return value
