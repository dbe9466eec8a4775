"""Loader for the test vectors; see tests/vectors/README.md for what is in them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent / "vectors"


@cache
def load(name: str) -> Any:
    """Return the content of tests/vectors/NAME.json."""
    return json.loads((ROOT / f"{name}.json").read_text())


def unhex(text: str) -> bytes:
    """Return bytes from hex digits, blanks and line ends left out."""
    return bytes.fromhex("".join(text.split()))


def address(value: int | str) -> bytes:
    """Return a NodeAddr: a small integer stands for that first byte and zeros after it."""
    return bytes.fromhex(value) if isinstance(value, str) else bytes([value]) + bytes(15)


def names(cases: list[dict[str, Any]], *keys: str) -> list[str]:
    """Return readable test ids from the first of `keys` that a case has."""
    return [next((str(case[key])[:50] for key in keys if case.get(key)), str(at)) for at, case in enumerate(cases)]
