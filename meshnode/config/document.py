"""From text to a tree of nodes that keep what was written: text, quotes, position.

PyYAML's parser gives the events. Its composer is not used: it recurses, which ends the process on deep nesting, and it
resolves scalars by YAML 1.1. Tags are dropped, since they change nothing (spec 05 section 2).
"""

from __future__ import annotations

from typing import Final, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from meshnode.config.errors import ConfigError, Place, Problem

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

BYTE_ORDER_MARK: Final = "\ufeff"
DEEPEST: Final = 500
"""Levels of nesting beyond which a file is refused."""


class Node:
    """A value in the file, at a place."""

    __slots__ = ("place",)

    def __init__(self, place: Place) -> None:
        self.place = place


class ScalarNode(Node):
    """Text; `plain` when it stands without quotes."""

    __slots__ = ("plain", "text")

    def __init__(self, place: Place, text: str, plain: bool) -> None:
        super().__init__(place)
        self.text = text
        self.plain = plain


class SequenceNode(Node):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.items: list[Node] = []


class MappingNode(Node):
    """Pairs of key and value, repeated keys and all, in the order of the file."""

    __slots__ = ("pairs",)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.pairs: list[tuple[Node, Node]] = []


def compose(text: str, file: str) -> Node | None:
    """Return the root of the one document in `text`, None when it holds nothing but comments.

    A leading byte order mark is skipped. Raises `ConfigError` for syntax, several documents or an unknown alias.
    """
    try:
        text = text.removeprefix(BYTE_ORDER_MARK)
        loader = _Loader(text)
        composer = _Composer(file)
        while event := loader.get_event():
            composer.take(event)
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, file) from None
    return composer.root


def _syntax_error(error: yaml.YAMLError, text: str, file: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    place = Place(file, mark.line + 1, mark.column + 1) if mark is not None else None
    detail = getattr(error, "problem", None) or getattr(error, "reason", None) or "the file is not YAML"
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        detail += "; this is a tab, write spaces"
    return ConfigError("syntax", f"not valid YAML: {detail}", place=place)


class _Composer:
    """Makes a tree of events. Every open list or mapping has its children so far in `_children`."""

    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self._file = file
        self._documents = 0
        self._anchors: dict[str, Node] = {}
        self._open: list[SequenceNode | MappingNode] = []
        self._children: list[list[Node]] = [[]]

    def take(self, event: Event) -> None:
        """Take the next event of the stream."""
        if isinstance(event, ScalarEvent):
            self._add(event.anchor, ScalarNode(self._place(event), event.value, not event.style))
        elif isinstance(event, MappingStartEvent):
            self._begin(event.anchor, MappingNode(self._place(event)))
        elif isinstance(event, SequenceStartEvent):
            self._begin(event.anchor, SequenceNode(self._place(event)))
        elif isinstance(event, CollectionEndEvent):
            self._end()
        elif isinstance(event, AliasEvent):
            self._add_alias(event)
        elif isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse("several documents", "more than one document in the file; keep one", self._place(event))

    def _place(self, event: Event) -> Place:
        mark = event.start_mark
        return Place(self._file, mark.line + 1, mark.column + 1)  # type: ignore[union-attr]

    def _add(self, anchor: str | None, node: Node) -> None:
        if anchor:
            self._anchors[anchor] = node
        if not self._open and not (isinstance(node, ScalarNode) and node.plain and not node.text):
            self.root = node
        self._children[-1].append(node)

    def _add_alias(self, event: AliasEvent) -> None:
        if event.anchor not in self._anchors:
            self._refuse("unknown anchor", "an alias names an anchor that is not defined above it", self._place(event))
        self._add(None, self._anchors[event.anchor])

    def _begin(self, anchor: str | None, node: SequenceNode | MappingNode) -> None:
        if len(self._open) >= DEEPEST:
            self._refuse("syntax", f"nested more than {DEEPEST} deep", node.place)
        self._add(anchor, node)
        self._open.append(node)
        self._children.append([])

    def _end(self) -> None:
        node, children = self._open.pop(), self._children.pop()
        if isinstance(node, MappingNode):
            node.pairs = list(zip(children[::2], children[1::2], strict=True))
        else:
            node.items = children

    def _refuse(self, problem: Problem, reason: str, place: Place) -> NoReturn:
        raise ConfigError(problem, reason, place=place)
