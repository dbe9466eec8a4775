"""`meshctl log`: the last lines of the node's log, and how much it says."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from meshnode.ranges import whole

from ..options import Words, client, emit, readable
from ..tables import printable

LEVELS = ("trace", "debug", "info", "warn", "error")


def add_to(words: Words) -> None:
    verbs = words.group("log", "look at the log of the node, or set its level", ("show", "level"))
    show = verbs.add("show", "print the last lines of the log", _show)
    show.add_argument(
        "-n", "--lines", type=whole(1), default=50, metavar="N", help="how many of the last 500 (%(default)s)"
    )
    level = verbs.add("level", "tell the level, or set it until the node stops", _level)
    level.add_argument("level", nargs="?", choices=LEVELS, metavar="LEVEL", help=", ".join(LEVELS))


def _show(options: argparse.Namespace) -> None:
    data = client(options).ask("show_log", {"count": options.lines})
    emit(data, options, lambda: readable(lambda: [line_text(line) for line in data["lines"]] or ["nothing yet"]))


def line_text(line: Mapping[str, Any]) -> str:
    """One line of the log for people."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line["time_ms"] / 1000))
    return f"{at} {line['level']:<5} {printable(line['text'])}"


def _level(options: argparse.Namespace) -> None:
    params = {} if options.level is None else {"level": options.level}
    data = client(options).ask("log_level", params)
    emit(data, options, lambda: [f"log level {data['level']}"])
