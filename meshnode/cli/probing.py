"""Probes of a node as this tool runs and tells them: named stages, what a failure means, and what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .client import Client, ToolError
from .tables import count

POLL_SECS = 0.25
GRACE_SECS = 5.0
MOST_AT_ONCE = 4

STAGES = ("name", "key", "filter", "lookup", "coordinates", "path", "session", "echo")

MEANING: Mapping[tuple[str, str], str] = {
    (
        "filter",
        "bloom_miss",
    ): "no peer claims to reach it: it is not in the mesh, or not in ours; is it running, and is "
    "one of its peers connected to the mesh?",
    ("filter", "no_tree_peers"): "this node has no peer to ask: `meshctl status` says why",
    ("filter", "no_response"): "the question could not be sent in time",
    ("lookup", "bloom_unconfirmed"): "a peer's filter has it, but nobody answered for it: it has just gone, a link on "
    "the way is down, or the filter was wrong by chance; try again in a minute",
    (
        "lookup",
        "already_pending",
    ): "a lookup that was under way found nothing: it has just gone, or a link on the way is down",
    ("lookup", "no_response"): "nobody answered for it",
    ("path", "disjoint_trees"): "it hangs in another tree: the mesh has come apart, or is just growing together",
    ("path", "no_next_hop"): "no peer is nearer to it than we are: the tree is changing; `meshctl why` shows the "
    "candidates",
    (
        "session",
        "handshake_timeout",
    ): "it was found but does not answer: it has just gone, it refuses us, or frames are "
    "lost or too long for a link on the way",
    ("session", "send_error"): "the first message could not be sent",
    ("echo", "no_report"): "the session stands, but nothing comes back: the way back is broken, or it measures nothing "
    "(mmp mode minimal)",
    ("echo", "no_echo"): "it answers without the time stamp a round trip is measured by",
    ("echo", "bad_timestamp_echo"): "its time stamps make no sense",
}


@dataclass(slots=True)
class Row:
    """One stage as a person reads it."""

    stage: str
    verdict: str
    elapsed_ms: int | None
    text: str


def run(client: Client, npub: str, timeout: float | None = None, sleep: Callable[[float], None] = time.sleep) -> Any:
    """The report of a whole probe. Raises `ToolError` when it takes longer than the node promised, or `timeout`."""
    started = client.ask("probe_start", {"npub": npub})
    limit = started["budget_ms"] / 1000 + GRACE_SECS if timeout is None else timeout
    deadline = time.monotonic() + limit
    while True:
        answer = client.ask("probe_poll", {"probe_id": started["probe_id"]})
        if answer["state"] == "done":
            return answer["report"]
        if time.monotonic() >= deadline:
            client.ask("probe_cancel", {"probe_id": started["probe_id"]})
            raise ToolError(
                f"the probe did not end within {limit:.0f} s; it stood at {failing(rows(answer['report']))}"
            )
        sleep(POLL_SECS)


def rows(report: Mapping[str, Any]) -> list[Row]:
    """The stages of a report after those of the tool itself."""
    return [
        Row("filter", _verdict(report["bloom"]), report["bloom"]["elapsed_ms"], _filter(report)),
        Row("lookup", _verdict(report["discovery"]), report["discovery"]["elapsed_ms"], _lookup(report)),
        _coordinates(report),
        Row("path", _verdict(report["path"]), report["path"]["elapsed_ms"], _path(report)),
        Row("session", _verdict(report["session"]), report["session"]["elapsed_ms"], _session(report)),
        Row("echo", _verdict(report["rtt"]), report["rtt"]["elapsed_ms"], _echo(report)),
    ]


def failing(stages: Iterable[Row]) -> str:
    """The first stage that did not do, None's name when all did."""
    return next((row.stage for row in stages if row.verdict in ("failed", "running", "pending")), "its end")


def as_data(stages: Iterable[Row]) -> list[dict[str, Any]]:
    return [asdict(row) for row in stages]


def _verdict(stage: Mapping[str, Any]) -> str:
    """The word shown: a stage that was skipped because there was nothing to do for it is as good as done."""
    if stage["verdict"] == "skipped":
        return "not run" if stage["reason"] == "not_reached" else "ok"
    return str(stage["verdict"])


def _explained(name: str, stage: Mapping[str, Any], text: str) -> str:
    if stage["verdict"] == "failed":
        reason = str(stage["reason"])
        return " ".join(filter(None, (MEANING.get((name, reason), reason), stage["detail"])))
    return "" if stage["reason"] == "not_reached" else text


def _filter(report: Mapping[str, Any]) -> str:
    stage = report["bloom"]
    texts = {"cached": "not needed, its place is known", "direct_peer": "not needed, it is a peer"}
    fanout = stage["fanout"]
    claims = f"{count(fanout, 'peer')} that may know it asked" if fanout else ""
    return _explained("filter", stage, texts.get(stage["reason"], claims))


def _lookup(report: Mapping[str, Any]) -> str:
    stage = report["discovery"]
    texts = {"cached": "not needed, its place is known", "direct_peer": "not needed, it is a peer"}
    attempts = stage["attempts"]
    found = f"answered at attempt {attempts}" if attempts else "answered"
    return _explained("lookup", stage, texts.get(stage["reason"], found))


def _coordinates(report: Mapping[str, Any]) -> Row:
    path = report["path"]
    if not path["coords_known"]:
        is_peer = path["reason"] == "direct_peer"
        return Row("coordinates", "ok" if is_peer else "not run", None, "not needed, it is a peer" if is_peer else "")
    root = path["their_coords"][-1][:8]
    ours = "the same root as ours" if path["same_root"] else "another root than ours"
    return Row("coordinates", "ok", None, f"{count(path['their_depth'], 'hop')} below {root}..., {ours}")


def _path(report: Mapping[str, Any]) -> str:
    path, hop = report["path"], report["path"]["next_hop"]
    if path["reason"] == "direct_peer":
        return "straight to it"
    through = "" if hop is None else f"through {hop['display_name']}"
    hops = len(path.get("hops", ())) - 1
    return _explained("path", path, f"{through}, {count(hops, 'hop')} along the tree" if hops > 0 else through)


def _session(report: Mapping[str, Any]) -> str:
    session = report["session"]
    mtu = f"frames of up to {session['path_mtu']} bytes" if "path_mtu" in session else ""
    was_there = "there already" if session["preexisting"] else "came up"
    return _explained("session", session, ", ".join(filter(None, (was_there, mtu))))


def _echo(report: Mapping[str, Any]) -> str:
    rtt = report["rtt"]
    return _explained("echo", rtt, round_trip(report) or "")


def round_trip(report: Mapping[str, Any]) -> str | None:
    """The round trip in words; None when none was measured."""
    milliseconds = report["rtt"].get("rtt_ms")
    if milliseconds is None:
        return None
    return f"{milliseconds} ms" if milliseconds else "less than 1 ms"
