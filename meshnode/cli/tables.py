"""Text for people: aligned columns, sizes, times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

WIDEST_CELL = 48
_GAP = "  "
_QUANTITY = re.compile(r"-|\d+(\.\d+)?(%| ms| [kMGTP]?B(/s)?)?|(\d+[dhms])+")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def table(titles: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "") -> list[str]:
    """Lines with aligned columns; numbers stand to the right. Without rows there is `empty` instead, or nothing."""
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        return [empty] if empty else []
    to_right = [all(_QUANTITY.fullmatch(row[column]) for row in cells) for column in range(len(titles))]
    everything = [list(titles), *cells]
    widths = [max(len(row[column]) for row in everything) for column in range(len(titles))]
    return [
        _GAP.join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, to_right, strict=True)
        ).rstrip()
        for row in everything
    ]


def pairs(items: Sequence[tuple[str, object]]) -> list[str]:
    """One line per label and value."""
    width = max(len(label) for label, _ in items)
    return [f"{label.ljust(width)}{_GAP}{printable(value)}".rstrip() for label, value in items]


def cell(value: object) -> str:
    """A value as short text; None and the empty text are a dash."""
    if value is None or value == "":
        return "-"
    text = printable(value)
    return text if len(text) <= WIDEST_CELL else f"{text[: WIDEST_CELL - 1]}…"


def printable(value: object) -> str:
    """Text without anything a terminal would act on."""
    return "".join(character if character.isprintable() else "?" for character in str(value))


def size(nbytes: float | None) -> str | None:
    """Bytes with a unit, three digits or so."""
    if nbytes is None:
        return None
    value = float(nbytes)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float | None) -> str | None:
    """A time span in its two largest units."""
    if seconds is None:
        return None
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def count(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun if number == 1 else f'{noun}s'}"


def percent(fraction: float | None) -> str | None:
    return None if fraction is None else f"{fraction * 100:.1f}%"


def milliseconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} ms"
