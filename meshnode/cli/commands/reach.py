"""`meshctl ping`, `trace` and `why`: can that node be reached, by which way, and why that one."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from meshnode.ranges import decimal, whole

from .. import probing
from ..client import Client, ToolError
from ..health import absent_text
from ..names import PREFIX, resolve
from ..options import FAILURE, SUCCESS, Words, add_peer, client, emit, readable, wants_json
from ..probing import Row
from ..tables import table

_LEAST_STEP_MS = 5.0


def add_to(words: Words) -> None:
    ping = words.add(
        "ping", "measure round trips to a node", _ping,
        details="Exit status 0 when at least one came back. It needs no network interface and no rights.",
    )  # fmt: skip
    add_peer(ping)
    ping.add_argument("-c", "--count", type=whole(1), default=4, metavar="N", help="how many round trips (%(default)s)")
    trace = words.add(
        "trace", "find out where the way to a node ends", _trace,
        details="The stages are name, key, filter, lookup, coordinates, path, session and echo; the failing one is the "
        "answer. Exit status 0 when a round trip was measured.",
    )  # fmt: skip
    add_peer(trace)
    trace.add_argument("--no-hops", action="store_true", help="do not measure the nodes on the way")
    trace.add_argument("--timeout", type=decimal(0), metavar="S", help="give up after so many seconds")
    add_peer(words.add("why", "show the next hop towards a node, and the other candidates", _why))


# -- ping


def _ping(options: argparse.Namespace) -> int:
    node = client(options)
    npub = resolve(options.peer, node)
    times: list[float] = []
    reports = []
    if not wants_json(options):
        print(f"ping {_heading(options.peer, npub)}", flush=True)
    for number in range(1, options.count + 1):
        report = probing.run(node, npub)
        reports.append(report)
        if "rtt_ms" in report["rtt"]:
            times.append(report["rtt"]["rtt_ms"])
        if not wants_json(options):
            print(f"{number}: {_ping_line(report)}", flush=True)
    summary = {"npub": npub, "sent": len(reports), "received": len(times), "rtt_ms": times}
    emit(summary, options, lambda: [_ping_summary(len(reports), times)])
    return SUCCESS if times else FAILURE


def _ping_line(report: Mapping[str, Any]) -> str:
    rtt = probing.round_trip(report)
    if rtt is not None:
        return rtt
    row = next((row for row in probing.rows(report) if row.verdict == "failed"), None)
    return "nothing came back" if row is None else f"fails at {row.stage}: {row.text}"


def _ping_summary(sent: int, times: list[float]) -> str:
    if not times:
        return f"0 of {sent} came back; `meshctl trace` says where the way ends"
    mean = sum(times) / len(times)
    return f"{len(times)} of {sent} came back, {min(times):.0f}/{mean:.1f}/{max(times):.0f} ms least/mean/most"


# -- trace


def _trace(options: argparse.Namespace) -> int:
    node = client(options)
    stages = [Row(stage, "not run", None, "") for stage in probing.STAGES]
    report: dict[str, Any] = {}
    hops: list[dict[str, Any]] = []
    link: str | None = None
    npub = _named(options.peer, node, stages)
    if npub is not None and _has_key(npub, node, stages):
        report = probing.run(node, npub, options.timeout)
        stages[2:] = probing.rows(report)
        link = _missing_link(node, npub)
        hops = [] if options.no_hops else _hops(node, report)
    failed = next((row for row in stages if row.verdict == "failed"), None)
    data = {
        "target": options.peer,
        "npub": npub,
        "reached": failed is None,
        "failing_stage": None if failed is None else failed.stage,
        "stages": probing.as_data(stages),
        "missing_link": link,
        "hops": hops,
        "slow_step": slow_step(hops),
        "report": report,
    }
    lines = _trace_lines(options.peer, npub, stages, hops, report)
    emit(data, options, lambda: lines if link is None else [*lines, link])
    return SUCCESS if failed is None else FAILURE


def _named(name: str, node: Client, stages: list[Row]) -> str | None:
    try:
        npub = resolve(name, node)
    except ToolError as error:
        stages[0] = Row("name", "failed", None, str(error))
        return None
    stages[0] = Row("name", "ok", None, "an npub by itself" if npub == name else f"stands for {npub}")
    return npub


def _has_key(npub: str, node: Client, stages: list[Row]) -> bool:
    """Whether the npub is a key, and not this node's own."""
    from meshnode.identity import IdentityError, PeerIdentity

    try:
        identity = PeerIdentity.from_npub(npub)
    except IdentityError as error:
        stages[1] = Row("key", "failed", None, f"not a public key: {error}")
        return False
    if node.ask("show_status")["npub"] == npub:
        stages[1] = Row("key", "failed", None, "it is the key of this node itself")
        return False
    stages[1] = Row("key", "ok", None, identity.ipv6_text)
    return True


def _missing_link(node: Client, npub: str) -> str | None:
    """What keeps a peer away that should be connected; None when it is no such peer."""
    try:
        known = node.ask("show_known_peers")["peers"]
    except ToolError:
        return None
    peer = next((one for one in known if one["npub"] == npub), None)
    if peer is None or peer["is_connected"] or peer["wish"] == "none":
        return None
    return f"it is to be connected: {absent_text(peer, time.time())}"


def _hops(node: Client, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes on the way with their round trips, as far as their keys are known."""
    hops = report["path"].get("hops", [])[1:]
    measured = []
    for hop in hops[:-1]:
        measured.append({**hop, **_measured(node, hop["display_name"])})
    if hops:
        measured.append({**hops[-1], "rtt_ms": report["rtt"].get("rtt_ms"), "note": None})
    return measured


def _measured(node: Client, name: str) -> dict[str, Any]:
    try:
        npub = resolve(name, node)
    except ToolError:
        return {"rtt_ms": None, "note": "its key is not known: a line in the hosts file would make it measurable"}
    report = probing.run(node, npub)
    rtt = report["rtt"].get("rtt_ms")
    return {"rtt_ms": rtt, "note": None if rtt is not None else _ping_line(report)}


def slow_step(hops: list[dict[str, Any]]) -> str | None:
    """Which step of the way takes most of the time; None when no one stands out."""
    known = [("this node", 0.0), *((hop["display_name"], hop["rtt_ms"]) for hop in hops if hop["rtt_ms"] is not None)]
    steps = [(right[1] - left[1], left[0], right[0]) for left, right in pairwise(known)]
    if len(steps) < 2:
        return None
    most, left, right = max(steps)
    others = max(step for step, *_ in sorted(steps)[:-1])
    if most < _LEAST_STEP_MS or most < 2 * others:
        return None
    return f"the slow step is {left} - {right}: {most:.0f} ms of {known[-1][1]:.0f} ms"


def _trace_lines(
    target: str, npub: str | None, stages: list[Row], hops: list[dict[str, Any]], report: Mapping[str, Any]
) -> list[str]:
    lines = [f"trace {_heading(target, npub)}"]
    lines += [f"{row.stage:<13}{row.verdict:<8}{_seconds(row.elapsed_ms):>7}  {row.text}".rstrip() for row in stages]
    if hops:
        rows = [
            (number, hop["display_name"], _rtt(hop["rtt_ms"]), hop["note"] or " ") for number, hop in enumerate(hops, 1)
        ]
        lines += ["", *table(("HOP", "NODE", "ROUND TRIP", ""), rows)]
    failed = next((row for row in stages if row.verdict == "failed"), None)
    slow = slow_step(hops)
    if failed is not None:
        lines += ["", f"fails at {failed.stage}"]
    elif report:
        lines += ["", f"reached, {probing.round_trip(report) or 'but no round trip was measured'}"]
    return lines if slow is None else [*lines, slow]


def _heading(name: str, npub: str | None) -> str:
    return name if npub in (None, name) else f"{name} ({npub})"


def _seconds(elapsed_ms: int | None) -> str:
    return "" if elapsed_ms is None else f"{elapsed_ms / 1000:.1f} s"


def _rtt(milliseconds: float | None) -> str | None:
    return None if milliseconds is None else f"{milliseconds:.0f} ms"


# -- why


def _why(options: argparse.Namespace) -> int:
    node = client(options)
    data = node.ask("why", {"npub": resolve(options.peer, node)})
    emit(data, options, lambda: readable(lambda: _why_lines(data)))
    return SUCCESS if data.get("next_hop") else FAILURE


def _why_lines(data: Mapping[str, Any]) -> list[str]:
    hop = data["next_hop"]
    name = data["display_name"] if data["display_name"][:5] != PREFIX else data["npub"]
    first = f"packets for {name} go {'nowhere' if hop is None else 'to ' + hop['display_name']}: {data['rule']}"
    distance = data["our_distance"]
    hops = "1 hop" if distance == 1 else f"{distance} hops"
    where = [] if distance is None else [f"it is {hops} away along the tree, this way counts as {data['class']}"]
    rows = [
        (
            row["display_name"],
            row["hops_left"],
            None if row["link_cost"] is None else f"{row['link_cost']:.2f}",
            None if row["total"] is None else f"{row['total']:.2f}",
            "yes" if row["filter_contains"] else "no",
            row["reason"],
        )
        for row in data["candidates"]
    ]
    titles = ("PEER", "HOPS LEFT", "LINK COST", "SUM", "IN FILTER", "VERDICT")
    return [first, *(where if hop is not None else []), "", *table(titles, rows, "no peers")]
