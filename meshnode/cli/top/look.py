"""What each tab asks a node, and one look at it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..client import Client, ToolError

Question = tuple[str, Mapping[str, Any] | None]

MOST_ROWS = 1000
WINDOWS = (("10m", "1s"), ("1h", "1m"), ("24h", "1m"))
METRICS = ("bytes_in", "bytes_out", "srtt_ms", "loss_rate")

TABS: Mapping[str, tuple[str, ...]] = {
    "node": ("show_peers", "show_known_peers", "show_transports", "show_acl", "show_log"),
    "peers": ("show_peers", "show_known_peers"),
    "links": ("show_links", "show_connections"),
    "sessions": ("show_sessions",),
    "tree": ("show_tree", "show_cache"),
    "routing": ("show_routing", "show_bloom"),
    "transports": ("show_transports",),
    "graphs": (),
    "log": ("show_log",),
}
"""What a tab asks besides `show_status`."""


@dataclass(slots=True)
class Look:
    """The answers of one look; `trouble` says why there are none."""

    answers: dict[str, Any] = field(default_factory=dict)
    trouble: str | None = None
    at: float = 0.0


def look(client: Client, tab: str, metric: str, window: tuple[str, str]) -> Look:
    """Ask what `tab` shows. A command the node does not know leaves a gap."""
    questions: list[Question] = [(command, {"limit": MOST_ROWS}) for command in TABS[tab]]
    if tab == "graphs":
        params = {"metric": metric, "window": window[0], "granularity": window[1]}
        questions.append(("show_stats_history_all_peers", params))
    try:
        answers = {"show_status": client.ask("show_status")}
    except ToolError as error:
        return Look(trouble=str(error), at=time.time())
    for command, parameters in questions:
        try:
            answers[command] = client.ask(command, parameters)
        except ToolError:
            continue
    return Look(answers, None, time.time())
