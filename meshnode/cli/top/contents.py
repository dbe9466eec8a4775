"""From answers to what stands on each tab: text, or a table's titles and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import health, views
from ..commands.journal import line_text
from ..graph import bars
from ..tables import count, duration, milliseconds, pairs, percent, printable, size
from ..tree_drawing import drawn

Answers = Mapping[str, Any]
Cell = str
_UNITS = {"bytes_in": "bytes/s in", "bytes_out": "bytes/s out", "srtt_ms": "round trip", "loss_rate": "loss"}
_GRAPH_HEIGHT = 3


class Rows:
    """A table: its titles, its rows, and a key per row that stays the same from look to look."""

    def __init__(self, titles: Sequence[str], rows: Sequence[tuple[str, Sequence[object]]]) -> None:
        self.titles = tuple(titles)
        self.rows = [(key, tuple(_cell(value) for value in cells)) for key, cells in rows]


def _cell(value: object) -> Cell:
    return "-" if value is None or value == "" else printable(value)


def node(answers: Answers, now: float) -> list[str]:
    """Is it well, and who is it."""
    found = health.findings(answers, now)
    status, lines = answers["show_status"], answers["show_status"]["sparklines"]
    verdict = [f"{'!' if one.grave else '-'} {one.text} ({one.remedy})" for one in found] or ["This node is well."]
    facts = [
        *views.status(status, now),
        "",
        *pairs([(name, f"{bars(lines[name], 30, 1)[0]} {_latest(name, lines[name])}") for name in lines]),
    ]
    return [*map(printable, verdict), "", *facts]


def _latest(name: str, values: Sequence[float | None]) -> str:
    value = values[-1] if values else None
    if value is None:
        return "-"
    if name.startswith("bytes"):
        return f"{size(value)}/s"
    return str(percent(value)) if name == "loss_rate" else f"{value:.0f}"


def peers(answers: Answers, now: float) -> Rows:
    titles = ("Name", "Tree", "SRTT", "Loss", "LQI", "Sent", "Received", "At")
    rows = [(row["npub"], _peer(row)) for row in answers["show_peers"]["peers"]]
    known = answers.get("show_known_peers", {}).get("peers", ())
    rows += [(peer["npub"], _absent(peer, now)) for peer in known if not peer["is_connected"]]
    return Rows(titles, rows)


def _peer(row: Mapping[str, Any]) -> Sequence[object]:
    quality = row.get("mmp", {})
    index = quality.get("lqi")
    place = "parent" if row["is_parent"] else "child" if row["is_child"] else None
    return (
        row["display_name"],
        place if row["connectivity"] == "connected" else "silent",
        milliseconds(quality.get("srtt_ms")),
        percent(quality.get("loss_rate")),
        None if index is None else f"{index:.2f}",
        size(row["stats"]["bytes_sent"]),
        size(row["stats"]["bytes_recv"]),
        f"{row.get('transport_type', '?')} {row.get('transport_addr', '?')}",
    )


def _absent(peer: Mapping[str, Any], now: float) -> Sequence[object]:
    due = peer["next_attempt_ms"]
    wait = "dialling" if peer["is_dialling"] else "" if due is None else f"in {duration(due / 1000 - now)}"
    at = ", ".join(f"{one['transport']} {one['address']}" for one in peer["addresses"])
    return (peer["display_name"], "absent", None, None, None, count(peer["vain_attempts"], "try"), wait, at)


def links(answers: Answers, now: float) -> Rows:
    titles = ("Link", "Direction", "State", "Sent", "Received", "Age", "Transport", "At")
    rows = [
        (
            str(row["link_id"]),
            (
                row["link_id"],
                row["direction"],
                row["state"],
                size(row["stats"]["bytes_sent"]),
                size(row["stats"]["bytes_recv"]),
                duration(now - row["created_at_ms"] / 1000) if row["created_at_ms"] else None,
                row["transport_id"],
                row["remote_addr"],
            ),
        )
        for row in answers["show_links"]["links"]
    ]
    return Rows(titles, rows)


def sessions(answers: Answers, now: float) -> Rows:
    titles = ("Name", "State", "SRTT", "Loss", "MTU", "Sent", "Received", "Active")
    rows = [
        (
            row["remote_addr"],
            (
                row["display_name"],
                row["state"],
                milliseconds(row.get("mmp", {}).get("srtt_ms")),
                percent(row.get("mmp", {}).get("loss_rate")),
                row.get("mmp", {}).get("path_mtu"),
                size(row["stats"]["bytes_sent"]),
                size(row["stats"]["bytes_recv"]),
                duration(now - row["last_activity_ms"] / 1000),
            ),
        )
        for row in answers["show_sessions"]["sessions"]
    ]
    return Rows(titles, rows)


def tree(answers: Answers, now: float) -> list[str]:
    data = answers["show_tree"]
    head = f"depth {data['depth']}, {data['stats']['parent_switches']} changes of parent; * is a peer"
    return [head, "", *map(printable, drawn(data, answers.get("show_cache", {})))]


def routing(answers: Answers, now: float) -> list[str]:
    filters = views.bloom(answers["show_bloom"], now) if "show_bloom" in answers else []
    return [*views.routing(answers["show_routing"], now), "", *filters]


def transports(answers: Answers, now: float) -> Rows:
    titles = ("Id", "Type", "Name", "State", "MTU", "Sent", "Received", "Errors", "At")
    rows = [
        (
            str(row["transport_id"]),
            (
                row["transport_id"],
                row["type"],
                row.get("name"),
                row["state"],
                row["mtu"],
                size(row["stats"].get("bytes_sent")),
                size(row["stats"].get("bytes_recv")),
                row["stats"].get("send_errors", 0) + row["stats"].get("recv_errors", 0),
                row.get("local_addr"),
            ),
        )
        for row in answers["show_transports"]["transports"]
    ]
    return Rows(titles, rows)


def graphs(answers: Answers, now: float, width: int) -> list[str]:
    """One picture per peer, all of them to the same scale."""
    data = answers.get("show_stats_history_all_peers")
    if data is None:
        return ["this node keeps no history"]
    span = duration(data["window_seconds"])
    lines = [f"{_UNITS.get(data['metric'], data['metric'])}, the last {span}   [m] metric  [w] window", ""]
    known = [value for peer in data["peers"] for value in peer["values"] if value is not None]
    top = max(known, default=0.0)
    for peer in data["peers"]:
        lines.append(f"{printable(peer['display_name'])}  {_extent(data['metric'], peer['values'])}")
        lines += bars(peer["values"], width, _GRAPH_HEIGHT, top or None)
    return lines if data["peers"] else [*lines, "no peers yet"]


def _extent(metric: str, values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "nothing measured"
    latest = "-" if values[-1] is None else _value(metric, values[-1])
    return f"now {latest}, mean {_value(metric, sum(known) / len(known))}, most {_value(metric, max(known))}"


def _value(metric: str, value: float) -> str:
    if metric.startswith("bytes"):
        return f"{size(value)}/s"
    return str(percent(value)) if metric == "loss_rate" else f"{value:.1f} ms"


def log(answers: Answers, now: float) -> list[str]:
    return [line_text(line) for line in answers.get("show_log", {}).get("lines", ())] or ["nothing yet"]


def bar(answers: Answers) -> str:
    """The line below the tabs: who this is and how it is."""
    status = answers["show_status"]
    name = f"{status['npub'][:9]}...{status['npub'][-4:]}"
    estimate = status["estimated_mesh_size"]
    mesh = "" if estimate is None else f", mesh of about {estimate}"
    return (
        f"{name} {status['state']}, up {duration(status['uptime_secs'])}, {count(status['peer_count'], 'peer')}{mesh}"
    )


def detail(row: Mapping[str, Any]) -> list[str]:
    """Everything an answer says about one peer."""
    flat: list[tuple[str, object]] = []
    for key, value in row.items():
        if isinstance(value, dict):
            flat += [(f"{key}.{inner}", item) for inner, item in value.items()]
        else:
            flat.append((key, value))
    return pairs(flat)
