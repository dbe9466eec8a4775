"""The commands of a page, so that a test types what a reader does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_HEADING = re.compile(r"^## (?:\d+\. )?(.*)$", re.M)
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```$", re.M | re.S)


def sections(page: str) -> dict[str, list[str]]:
    """The blocks of commands of a page below `docs` or `examples`, by the heading they stand under."""
    text = (ROOT / page).read_text()
    head, *parts = _HEADING.split(text)
    assert head, page
    return {title: _BLOCK.findall(body) for title, body in zip(parts[::2], parts[1::2], strict=True)}


def filled(block: str, values: Mapping[str, str]) -> str:
    """A block with what a reader has to put in; each of `values` has to be in it."""
    for stands_for, value in values.items():
        assert stands_for in block, f"the page does not say {stands_for!r} here any more:\n{block}"
        block = block.replace(stands_for, value)
    return block
