"""Series as pictures made of block characters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def squeezed(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most `width` values: each the mean of a stretch of the series, None where nothing was measured."""
    if width <= 0:
        return []
    if len(values) <= width:
        return list(values)
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    return [_mean(values[begin:end]) for begin, end in pairwise(edges)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def bars(values: Sequence[float | None], width: int, height: int, top: float | None = None) -> list[str]:
    """`height` lines of `width` columns, the newest value at the right; `top` is the value of a full column.

    A value above zero is never invisible, a missing one always is.
    """
    columns = squeezed(values, width)
    known = [value for value in columns if value is not None]
    limit = max(known, default=0.0) if top is None else top
    levels = [_level(value, limit, height * 8) for value in columns]
    padding = " " * (width - len(columns))
    lines = [padding + "".join(_cell(level, row) for level in levels) for row in range(height)]
    return lines[::-1]


def _level(value: float | None, limit: float, most: int) -> int:
    if value is None:
        return 0
    if value <= 0 or limit <= 0:
        return 1
    return max(1, min(most, round(value / limit * most)))


def _cell(level: int, row: int) -> str:
    return _EIGHTHS[max(0, min(8, level - row * 8))]
