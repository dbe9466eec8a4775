"""`meshctl stats`: counters, and what was remembered over time."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..client import Client, ToolError
from ..graph import squeezed
from ..names import resolve
from ..options import Words, client, emit, readable
from ..tables import duration, table
from ..views import VIEWS

BLOCKS = "▁▂▃▄▅▆▇█"


def add_to(words: Words) -> None:
    verbs = words.group("stats", "counters and histories", ("list", "metrics", "peers", "history"))
    verbs.add("list", "list the metrics that are remembered", _list)
    verbs.add("metrics", "print every counter that is not zero", _metrics)
    verbs.add("peers", "list the peers that are remembered", _peers)
    history = verbs.add("history", "draw one metric over time", _history)
    history.add_argument("metric", metavar="METRIC", help="as in `meshctl stats list`")
    history.add_argument("--peer", metavar="PEER", help="a metric of this peer and not of the node")
    history.add_argument(
        "--window", metavar="TIME", default="10m", help="how far back, such as 90s, 10m, 24h (%(default)s)"
    )
    history.add_argument("--granularity", choices=("1s", "1m"), default="1s", help="one value a second or a minute")
    history.add_argument("--plot", action="store_true", help="draw one block for every sample, however wide that is")


def _list(options: argparse.Namespace) -> None:
    data = client(options).ask("show_stats_list")
    emit(data, options, lambda: readable(lambda: _metric_lines(data)))


def _metric_lines(data: Mapping[str, Any]) -> list[str]:
    rows = [(one["name"], one["unit"], one["scope"]) for one in data["metrics"]]
    return table(("METRIC", "UNIT", "OF"), rows)


def _metrics(options: argparse.Namespace) -> None:
    data = client(options).ask("show_metrics")
    emit(data, options, lambda: readable(lambda: VIEWS["metrics"](data, time.time())))


def _peers(options: argparse.Namespace) -> None:
    data = client(options).ask("show_stats_peers")
    emit(data, options, lambda: readable(lambda: _peer_lines(data)))


def _peer_lines(data: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            row["display_name"],
            "yes" if row["is_active"] else "no",
            duration(row["first_seen_secs_ago"]),
            duration(row["last_contact_secs_ago"]),
        )
        for row in data["peers"]
    ]
    return table(("PEER", "PRESENT", "FIRST SEEN", "LAST SEEN"), rows, "no peers")


def _history(options: argparse.Namespace) -> None:
    node = client(options)
    params = {"metric": options.metric, "window": options.window, "granularity": options.granularity}
    if options.peer is not None:
        params["peer"] = resolve(options.peer, node)
    data = _asked(node, params)
    emit(data, options, lambda: readable(lambda: plot(data) if options.plot else _fitting(data)))


def _fitting(data: Mapping[str, Any]) -> list[str]:
    """The plot as wide as the terminal, or why there is nothing to draw."""
    if data["values"] and not any(value is not None for value in data["values"]):
        finer = "; --granularity 1s has the last hour by seconds" if data["granularity_seconds"] > 1 else ""
        return [f"{data['metric']}: nothing is remembered of that time yet{finer}"]
    return plot(data, shutil.get_terminal_size().columns - 2)


def _asked(node: Client, params: Mapping[str, Any]) -> Any:
    """The answer; a metric that was looked for in the wrong place is told where it is."""
    try:
        return node.ask("show_stats_history", params)
    except ToolError as error:
        scopes = {one["scope"] for one in _known_metrics(node) if one["name"] == params["metric"]}
        if scopes == {"peer"} and "peer" not in params:
            raise ToolError(f"{params['metric']} is measured for each peer: add --peer NAME") from None
        if scopes == {"node"} and "peer" in params:
            raise ToolError(f"{params['metric']} is measured for the whole node: leave --peer out") from None
        raise error from None


def _known_metrics(node: Client) -> list[dict[str, str]]:
    try:
        return list(node.ask("show_stats_list")["metrics"])
    except ToolError:
        return []


def plot(data: Mapping[str, Any], width: int | None = None) -> list[str]:
    """Three lines: what it is, its extremes, and a block per sample (spec 06 section 8), at most `width` of them."""
    values: Sequence[float | None] = data["values"]
    if not values:
        return [f"{data['metric']}: no data yet"]
    step = data["granularity_seconds"]
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    gaps = len(values) - len(known)
    last = "-" if values[-1] is None else f"{values[-1]:.3f}"
    shown = values if width is None else squeezed(values, width)
    drawn = [value for value in shown if value is not None]
    bottom, top = (min(drawn), max(drawn)) if drawn else (0.0, 0.0)
    return [
        f"{data['metric']} ({data['unit']}) — {len(values)} samples @ {step}s = {len(values) * step}s window"
        + (f" ({gaps} gaps)" if gaps else ""),
        f"  min={low:.3f} max={high:.3f} last={last}",
        "  " + "".join(_block(value, bottom, top) for value in shown),
    ]


def _block(value: float | None, low: float, high: float) -> str:
    if value is None:
        return " "
    if high == low:
        return BLOCKS[3]
    return BLOCKS[round((value - low) / (high - low) * 7)]
