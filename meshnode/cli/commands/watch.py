"""`meshctl watch`: what happens to the node, as it happens."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from meshnode.ranges import whole

from ..options import Words, client, wants_json
from ..tables import printable

_EVENTS = "such as peer_up peer_down roam parent_changed; without any, all but those that traffic alone brings about"
CHATTY = frozenset(("name_resolved", "path_broken", "rekey", "session_down", "session_up"))
"""What happens all day on a node that is well."""


def add_to(words: Words) -> None:
    watch = words.add("watch", "show events as they happen, until interrupted", _watch)
    watch.add_argument("events", metavar="EVENT", nargs="*", help=_EVENTS)
    watch.add_argument("--all", action="store_true", help="sessions, rekeys and names looked up, too")
    watch.add_argument(
        "--since", type=whole(0), metavar="NUMBER", help="begin after this event; 0 for all that are kept"
    )


def _watch(options: argparse.Namespace) -> None:
    params: dict[str, Any] = {}
    if options.events:
        params["events"] = options.events
    if options.since is not None:
        params["since"] = options.since
    passed_over = frozenset() if options.events or options.all else CHATTY
    for row in client(options).watch(params):
        if row["event"] in passed_over:
            continue
        print(json.dumps(row, ensure_ascii=False) if wants_json(options) else line(row), flush=True)


def line(row: dict[str, Any]) -> str:
    """One event for people: when, what, and the sentence the log has."""
    moment = time.strftime("%H:%M:%S", time.localtime(row["time_ms"] / 1000)) if "time_ms" in row else " " * 8
    return f"{moment}  {printable(row['event']).ljust(15)} {printable(row['text'])}"
