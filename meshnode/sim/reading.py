"""Reading scenario files: every complaint is one line with file, key and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

import yaml

_EXPONENT = re.compile(r"\d+(\.\d*)?[eE][+-]?\d+\Z")


class ScenarioError(ValueError):
    """A scenario cannot be used as it is written; the text is one line for its author."""


class _Loader(yaml.SafeLoader):
    """Plain YAML, in which no key may be there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"`{key.value}` is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, file: str) -> Any:
    """What `text` says; complaints call it `file`. Raises `ScenarioError`."""
    try:
        raw = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else "the file"
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ScenarioError(f"{file}: {where}: not YAML: {problem}; write key: value lines") from None
    except RecursionError:
        raise ScenarioError(f"{file}: lists and keys are nested too deeply; no scenario needs that") from None
    if raw is None:
        raise ScenarioError(f"{file}: the file is empty; write at least topology: {{kind: ring, nodes: 7}}")
    return raw


class Value:
    """A piece of the file together with where it stands."""

    def __init__(self, file: str, path: str, raw: Any) -> None:
        self.file = file
        self.path = path
        self.raw = raw

    def refuse(self, what: str) -> NoReturn:
        """Raise `ScenarioError` about this place."""
        raise ScenarioError(f"{self.file}: {self.path or 'the file'}: {what}")

    def _show(self) -> str:
        text = repr(self.raw)
        return text if len(text) <= 40 else text[:37] + "..."

    def number(self, least: float = 0.0, most: float = float("inf")) -> float:
        raw = self.raw
        if isinstance(raw, str) and _EXPONENT.match(raw):
            raw = float(raw)  # YAML 1.1 takes 10e6 for a text
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            self.refuse(f"{self._show()} is not a number; write {_range(least, most)}")
        if not least <= raw <= most:
            self.refuse(f"{raw:.12g} is out of range; write {_range(least, most)}")
        return float(raw)

    def whole(self, least: int = 0, most: int = 1 << 31) -> int:
        if isinstance(self.raw, bool) or not isinstance(self.raw, int) or not least <= self.raw <= most:
            self.refuse(f"{self._show()} will not do; write a whole number from {least} to {most}")
        return self.raw

    def truth(self) -> bool:
        if not isinstance(self.raw, bool):
            self.refuse(f"{self._show()} will not do; write true or false")
        return self.raw

    def text(self) -> str:
        if not isinstance(self.raw, str) or not self.raw:
            self.refuse(f"{self._show()} is not a text; write a name or a sentence")
        return self.raw

    def choice(self, choices: Collection[str]) -> str:
        if not isinstance(self.raw, str) or self.raw not in choices:
            self.refuse(f"{self._show()} is unknown; write one of {', '.join(choices)}")
        return self.raw

    def items(self) -> list[Value]:
        """The elements of a list; a single value counts as a list of one."""
        raw = self.raw if isinstance(self.raw, list) else [self.raw]
        return [Value(self.file, f"{self.path}[{i}]", item) for i, item in enumerate(raw)]

    def sequence(self) -> list[Value]:
        if not isinstance(self.raw, list):
            self.refuse(f"{self._show()} is not a list; write [one, two, ...] or lines that begin with '- '")
        return self.items()

    def mapping(self, known: Collection[str], needed: Collection[str] = ()) -> Mapping:
        """The keys below this one, all of which have to be `known` and none of the `needed` missing."""
        if not isinstance(self.raw, dict):
            self.refuse(f"{self._show()} will not do; write keys: {', '.join(known)}")
        for name in self.raw:
            if name not in known:
                Value(self.file, self._below(str(name)), None).refuse(f"no such key; write one of {', '.join(known)}")
        for name in needed:
            if name not in self.raw:
                self.refuse(f"`{name}` is missing; write {name}: and a value")
        return Mapping(self)

    def _below(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def below(self, name: str) -> Value:
        return Value(self.file, self._below(name), self.raw[name])


def _range(least: float, most: float) -> str:
    return f"a number from {least:.12g} to {most:.12g}" if most < float("inf") else f"a number, {least:.12g} or more"


class Mapping:
    """Checked keys."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __contains__(self, name: str) -> bool:
        return name in self.value.raw

    def __getitem__(self, name: str) -> Value:
        return self.value.below(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.value.raw)

    def number(self, name: str, default: float, least: float = 0.0, most: float = float("inf")) -> float:
        return self[name].number(least, most) if name in self else default

    def whole(self, name: str, default: int, least: int = 0) -> int:
        return self[name].whole(least) if name in self else default

    def text(self, name: str, default: str) -> str:
        return self[name].text() if name in self else default
