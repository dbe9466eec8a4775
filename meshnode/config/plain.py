"""Parts of the file that somebody else understands, as plain values: the sections of transports from plug-ins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from meshnode.config.document import MappingNode, ScalarNode, SequenceNode
from meshnode.config.errors import ConfigError
from meshnode.config.yaml12 import BOOLEANS, Cursor, clip, is_null, is_string, parse_float, parse_integer

DEEPEST: Final = 8
MOST_VALUES: Final = 1000
"""Aliases can make a short file mean a long one."""


class PlainReader:
    """Converts one section to dictionaries, lists, texts, numbers, booleans and None, by the rules of YAML 1.2."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def value(self, at: Cursor, depth: int = 0) -> Any:
        """What stands at `at`. Raises `ConfigError` for what is nested or repeated beyond reason."""
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            at.refuse("syntax", f"this section is too large; at most {MOST_VALUES} values, {DEEPEST} deep, are read")
        if isinstance(at.node, MappingNode):
            return dict(self._pairs(at, at.node, depth))
        if isinstance(at.node, SequenceNode):
            items = enumerate(at.node.items)
            return [self.value(Cursor(item, f"{at.key}[{number}]"), depth + 1) for number, item in items]
        return scalar(at)

    def _pairs(self, at: Cursor, node: MappingNode, depth: int) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key, value in node.pairs:
            if not isinstance(key, ScalarNode):
                at.mismatch("a key name")
            path = f"{at.key}.{clip(key.text)}"
            if key.text in seen:
                Cursor(key, path).refuse("duplicate field", "is set twice; keep one of the two")
            seen.add(key.text)
            yield key.text, self.value(Cursor(value, path), depth + 1)


def scalar(at: Cursor) -> Any:
    """The value of a scalar whose type nobody has said."""
    text = at.plain_text
    if is_string(at.node) or text is None:
        return at.node.text if isinstance(at.node, ScalarNode) else None
    if is_null(at.node):
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    number = parse_integer(text.removeprefix("-"))
    if number is None:
        return parse_float(text)
    return -number if text.startswith("-") else number


def plain_instances(at: Cursor) -> dict[str | None, dict[str, Any]]:
    """Read a transport section without a schema: instances by name, a single one without a name under None.

    A mapping of nothing but mappings is a mapping of named instances. Raises `ConfigError`.
    """
    value = PlainReader().value(at)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError("invalid type", "write the keys of the transport below it", key=at.key, place=at.node.place)
    if value and all(isinstance(inner, dict) for inner in value.values()):
        return dict(value)
    return {None: value}
