"""What a scalar means under YAML 1.2 (spec 05 section 2).

Every scalar keeps its text and style until the type of its key is known; the functions here convert it to that type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Final, NoReturn

from meshnode.config.document import MappingNode, Node, ScalarNode
from meshnode.config.errors import ConfigError, Problem

NULLS: Final = frozenset({"null", "Null", "NULL", "~"})
BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_BASES: Final = {"0x": 16, "0o": 8, "0b": 2}
_DIGITS: Final = {
    16: re.compile(r"[0-9A-Fa-f]+\Z"),
    10: re.compile(r"(?:0|[1-9][0-9]*)\Z"),
    8: re.compile(r"[0-7]+\Z"),
    2: re.compile(r"[01]+\Z"),
}
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_LEADING_ZERO: Final = re.compile(r"[+-]?0[0-9]+\Z")
_INFINITIES: Final = {sign + text for sign in ("", "+", "-") for text in (".inf", ".Inf", ".INF")}
_NOT_NUMBERS: Final = frozenset({".nan", ".NaN", ".NAN"})
_LONGEST_INTEGER: Final = 80
"""Digits beyond which no integer type could hold the value, so that none is ever converted."""


def is_empty(node: Node) -> bool:
    """Whether nothing at all stands where a value belongs."""
    return isinstance(node, ScalarNode) and node.plain and node.text == ""


def is_null(node: Node) -> bool:
    """Whether `node` is empty or one of the plain spellings of null."""
    return isinstance(node, ScalarNode) and node.plain and (node.text == "" or node.text in NULLS)


def parse_integer(text: str) -> int | None:
    """Value of a plain scalar as an unsigned integer, None when it is no such thing."""
    digits = text.removeprefix("+")
    base = _BASES.get(digits[:2], 10)
    digits = digits if base == 10 else digits[2:]
    if len(digits) > _LONGEST_INTEGER or not _DIGITS[base].match(digits):
        return None
    return int(digits, base)


def parse_float(text: str) -> float | None:
    """Value of a plain scalar as a floating-point number, None when it is no such thing."""
    if text in _INFINITIES:
        return -math.inf if text[0] == "-" else math.inf
    if text in _NOT_NUMBERS:
        return math.nan
    if not _FLOAT.match(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def is_string(node: Node) -> bool:
    """Whether a reader that does not know the type of the key takes `node` for a string."""
    if not isinstance(node, ScalarNode):
        return False
    if not node.plain:
        return True
    text = node.text
    if is_null(node) or text in BOOLEANS or parse_integer(text.removeprefix("-")) is not None:
        return False
    return bool(_LEADING_ZERO.match(text)) or parse_float(text) is None


def describe(node: Node) -> str:
    """Words for what stands in the file, short and without secrets."""
    if not isinstance(node, ScalarNode):
        return "a mapping" if isinstance(node, MappingNode) else "a list"
    text = node.text
    if text.lower().startswith("nsec1"):
        return "a secret key"
    if not node.plain:
        return f'the text "{clip(text)}"'
    return "an empty value" if text == "" else f"`{clip(text)}`"


def clip(text: str, limit: int = 60) -> str:
    """`text` on one line and not longer than `limit` characters."""
    line = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return line if len(text) <= limit else line + "..."


class Cursor:
    """A node together with the dotted path that leads to it: what a conversion needs to speak clearly."""

    __slots__ = ("key", "node")

    def __init__(self, node: Node, key: str) -> None:
        self.node = node
        self.key = key

    @property
    def plain_text(self) -> str | None:
        """Text of a scalar without quotes, None for anything else."""
        return self.node.text if isinstance(self.node, ScalarNode) and self.node.plain else None

    def refuse(self, problem: Problem, reason: str) -> NoReturn:
        """Raise `ConfigError` at this position."""
        raise ConfigError(problem, reason, key=self.key, place=self.node.place)

    def mismatch(self, wanted: str) -> NoReturn:
        """Refuse a value of the wrong type; `wanted` says what to write."""
        self.refuse("invalid type", f"{describe(self.node)} does not fit here; write {wanted}")


def to_bool(at: Cursor) -> bool:
    """Exactly the six spellings of YAML 1.2, unquoted."""
    value = BOOLEANS.get(at.plain_text or "")
    if value is None:
        at.mismatch("true or false, without quotes")
    return value


def to_integer(at: Cursor, maximum: int) -> int:
    """A plain unsigned integer of at most `maximum`."""
    value = parse_integer(at.plain_text or "")
    if value is None:
        at.mismatch(f"a whole number {_range(maximum)}, without quotes")
    if value > maximum:
        at.refuse("invalid value", f"{value} is too large; write a whole number from 0 to {maximum}")
    return value


def _range(maximum: int) -> str:
    return f"from 0 to {maximum}" if maximum < 2**32 else "that is not negative"


def to_float(at: Cursor) -> float:
    """A plain decimal number."""
    value = parse_float(at.plain_text or "")
    if value is None:
        at.mismatch("a decimal number such as 0.5, without quotes")
    return value


def to_text(at: Cursor) -> str:
    """The text of any scalar, whatever it looks like."""
    if not isinstance(at.node, ScalarNode):
        at.mismatch("text")
    return at.node.text


def to_strict_text(at: Cursor) -> str:
    """The text of a scalar that is a string by the rules for untyped values (spec 05 section 2, last paragraph)."""
    text = to_text(at)
    if not is_string(at.node):
        at.mismatch(f'text: put "{clip(text)}" in quotes' if text else "text")
    return text


def to_choice(at: Cursor, choices: Collection[str]) -> str:
    """One of `choices`, spelt exactly."""
    text = to_text(at)
    if text not in choices:
        at.refuse("unknown variant", f"{describe(at.node)} is not a choice here; write one of {', '.join(choices)}")
    return text
