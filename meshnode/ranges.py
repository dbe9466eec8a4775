"""Numbers on a command line: for the `type` of an option that takes only those from a range."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Whole numbers from `least` on, to `most` if it is given."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {_range(least, most)}")
        return number

    return read


def decimal(least: float, most: float | None = None) -> Callable[[str], float]:
    """Finite decimal numbers from `least` on, to `most` if it is given."""
    ceiling = float("1e300") if most is None else most

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= ceiling:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {_range(least, most)}")
        return value

    return read


def _range(least: float, most: float | None) -> str:
    return f"from {least:g} on" if most is None else f"from {least:g} to {most:g}"


port = whole(1, 0xFFFF)
seconds = decimal(0.1, 86_400.0)
