"""Sections that only a plug-in understands."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.config.errors import ConfigError
from meshnode.config.load import parse
from meshnode.config.plain import MOST_VALUES, plain_instances


def section(text: str) -> dict[str | None, dict[str, Any]]:
    config, warnings = parse(f"transports:\n  pigeon: {text}\n")
    assert warnings == []
    return plain_instances(config.transports.others["pigeon"])


def test_scalars_mean_what_yaml_says() -> None:
    text = "{a: 1, b: -0x10, c: 1.5, d: yes, e: 'true', f: true, g: ~, h: , i: [1, two, {x: 007}], j: .inf}"
    assert section(text)[None] == {
        "a": 1,
        "b": -16,
        "c": 1.5,
        "d": "yes",
        "e": "true",
        "f": True,
        "g": None,
        "h": None,
        "i": [1, "two", {"x": "007"}],
        "j": float("inf"),
    }


@pytest.mark.parametrize(
    ("text", "instances"),
    [
        ("{}", {None: {}}),
        ("", {None: {}}),
        ("{loft: 3}", {None: {"loft": 3}}),
        ("{north: {loft: 3}, south: {}}", {"north": {"loft": 3}, "south": {}}),
        ("{loft: 3, routes: {a: 1}}", {None: {"loft": 3, "routes": {"a": 1}}}),
    ],
)
def test_one_instance_or_several_by_name(text: str, instances: dict[str | None, dict[str, Any]]) -> None:
    assert section(text) == instances


@pytest.mark.parametrize("text", ["3", "[]", "pigeon", "{a: 1, a: 2}", "{? [a] : 1}"])
def test_what_cannot_be_a_section_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ConfigError, match=r"transports\.pigeon.*line 2"):
        section(text)


def test_aliases_cannot_make_it_grow_without_end() -> None:
    lines = ["&a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"&a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(7)]
    text = "{" + ", ".join(f"k{n}: {line}" for n, line in enumerate(lines)) + "}"
    with pytest.raises(ConfigError, match=f"at most {MOST_VALUES} values"):
        section(text)


def test_nesting_is_bounded() -> None:
    with pytest.raises(ConfigError, match="too large"):
        section("[" * 100 + "]" * 100)


def test_a_later_file_replaces_the_section_as_a_whole() -> None:
    from meshnode.config.keys import overlay

    assert overlay({"others": {"pigeon": 1, "drum": 2}}, {"others": {"pigeon": 3}}) == {
        "others": {"pigeon": 3, "drum": 2}
    }
