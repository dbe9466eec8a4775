"""`meshctl status` and `meshctl peers`: am I well, and who is around me."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .. import health
from ..client import Client, ToolError
from ..options import FAILURE, SUCCESS, Words, client, emit, readable
from ..tables import count, duration, pairs, size, table
from ..views import VIEWS


def add_to(words: Words) -> None:
    words.add(
        "status", "am I well, and if not, what to do", _status,
        details="Exit status 0 when all is well or could only be better, 1 when something keeps it from its work.",
    )  # fmt: skip
    words.add("peers", "who is connected, and who should be", _peers)


def _status(options: argparse.Namespace) -> int:
    answers = gather(client(options))
    found = health.findings(answers, time.time())
    is_well = not any(finding.grave for finding in found)
    data = {"well": is_well, "findings": [asdict(one) for one in found], "status": answers["show_status"]}
    emit(data, options, lambda: readable(lambda: [*_verdict(found), "", *_facts(answers)]))
    return SUCCESS if is_well else FAILURE


def gather(node: Client) -> dict[str, Any]:
    """The answers a judgement needs; only `show_status` has to be there."""
    answers = {"show_status": node.ask("show_status")}
    for command in (*health.ASKED, "show_config"):
        params = health.PARENT_CHANGES if command == "show_stats_history" else None
        try:
            answers.setdefault(command, node.ask(command, params))
        except ToolError:
            continue
    return answers


def _verdict(found: list[health.Finding]) -> list[str]:
    grave = sum(finding.grave for finding in found)
    if not found:
        return ["This node is well."]
    head = f"{count(grave, 'thing')} wrong:" if grave else "This node is well, but could do better:"
    lines = [f"{'!' if one.grave else '-'} {one.text}\n  {one.remedy}" for one in found]
    return [head, *lines]


def _facts(answers: Mapping[str, Any]) -> list[str]:
    status = answers["show_status"]
    known = [peer for peer in answers.get("show_known_peers", {}).get("peers", ()) if peer["is_configured"]]
    wanted = [peer for peer in known if peer["is_connected"] or peer["wish"] != "none"]
    connected = sum(peer["is_connected"] for peer in wanted)
    estimate = status["estimated_mesh_size"]
    peers = answers.get("show_peers", {}).get("peers", [])
    parent = next((row["display_name"] for row in peers if row["is_parent"]), "unknown")
    library = answers.get("show_config", {}).get("aead_library", "an unknown library")
    lines = status["sparklines"]
    rates = [lines[name][-1] if lines.get(name) else None for name in ("bytes_in", "bytes_out")]
    return pairs(
        [
            ("npub", status["npub"]),
            ("address", status["ipv6_addr"]),
            ("up", f"{duration(status['uptime_secs'])}, version {status['version']}, {status['state']}"),
            ("peers", f"{status['peer_count']} connected, {connected} of {len(wanted)} configured"),
            ("mesh", "of unknown size" if estimate is None else f"of about {count(estimate, 'node')}"),
            ("parent", "none, this node is the root" if status["is_root"] else parent),
            ("sessions", status["session_count"]),
            ("traffic", f"{size(rates[0] or 0)}/s in, {size(rates[1] or 0)}/s out"),
            (
                "cipher",
                f"ChaCha20-Poly1305 by {library}",
            ),
            ("interface", f"{status['tun_name']} {status['tun_state']}, IPv6 MTU {status['effective_ipv6_mtu']}"),
        ]
    )


def _peers(options: argparse.Namespace) -> None:
    node = client(options)
    connected, known = node.ask("show_peers"), _known(node)
    data = {"connected": connected["peers"], "known": known}
    emit(data, options, lambda: readable(lambda: _peer_lines(connected, known)))


def _known(node: Client) -> list[dict[str, Any]]:
    try:
        return list(node.ask("show_known_peers")["peers"])
    except ToolError:
        return []


def _peer_lines(connected: Mapping[str, Any], known: list[dict[str, Any]]) -> list[str]:
    absent = [peer for peer in known if not peer["is_connected"]]
    lines = VIEWS["peers"](connected, time.time())
    if not absent:
        return lines
    rows = [
        (
            peer["display_name"],
            "configured" if peer["is_configured"] else "found",
            peer["vain_attempts"],
            "dialling" if peer["is_dialling"] else _next(peer),
            ", ".join(f"{one['transport']} {one['address']}" for one in peer["addresses"]),
        )
        for peer in absent
    ]
    return [*lines, "", *table(("NOT CONNECTED", "KNOWN BY", "IN VAIN", "NEXT TRY", "AT"), rows)]


def _next(peer: Mapping[str, Any]) -> str:
    if peer["is_dismissed"]:
        return "disconnected by you"
    due = peer["next_attempt_ms"]
    return "never" if due is None else f"in {duration(due / 1000 - time.time())}"
