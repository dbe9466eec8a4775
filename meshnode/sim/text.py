"""The report for people."""

from __future__ import annotations

from shlex import quote
from typing import Any

from .result import Result


def render(result: Result, source: str | None = None) -> str:
    """A run as readable text; the same run gives the same text. `source` is the file it came from, if it did."""
    report = result.report
    lines = [
        f"{report['scenario']}, seed {report['seed']}: {report['nodes']} nodes, {report['links']} links, "
        f"{report['duration_s']:g} s",
    ]
    if report["about"]:
        lines += [f"  {report['about']}"]
    for section in (_happenings, _tree, _traffic, _messages, _expectations):
        lines += section(report)
    lines += ["", _last_line(result, source or result.scenario)]
    return "\n".join(lines) + "\n"


def _last_line(result: Result, source: str) -> str:
    looks = result.report["invariants"]["looks"]
    if result.passed:
        return (
            f"PASSED  {result.scenario}, seed {result.seed}: everything expected was met, {looks} looks at invariants"
        )
    again = f"meshsim run {quote(source)} --seed {result.seed}"
    lines = [f"FAILED  {result.scenario}, seed {result.seed}: repeat with: {again}"]
    return "\n".join(lines + [f"  {failure}" for failure in result.failures])


def _happenings(report: dict[str, Any]) -> list[str]:
    lines = ["", "what happened               at s   tree settled after   filters after"]
    happenings = report["happenings"]
    for happening in happenings[:40]:
        subjects = " ".join(happening["subjects"][:6])
        what = "" if happening["action"] == happening["name"] else f" {happening['action']}"
        name = f"{happening['name']}{what} {subjects}"[:26]
        tree, filters = (_seconds(happening[f"{part}_settled_after_s"]) for part in ("tree", "filters"))
        lines.append(f"  {name:<26}{happening['at_s']:>8.2f}{tree:>17}{filters:>16}")
    if len(happenings) > 40:
        lines.append(f"  ... and {len(happenings) - 40} more")
    return lines


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def _tree(report: dict[str, Any]) -> list[str]:
    tree, stretch = report["tree"], report["stretch"]
    lines = [
        "",
        f"tree        {tree['parts']} part(s), {tree['roots']} root(s), depth {tree['depth']}, "
        f"{tree['parent_changes']} changes of parent",
    ]
    lines += [f"  {problem}" for problem in tree["problems"]]
    if stretch is not None:
        lines.append(f"stretch     median {stretch['p50']:.2f}, p95 {stretch['p95']:.2f}, worst {stretch['max']:.2f}")
    if report["lookup_hops"]:
        hops = ", ".join(f"{hops}: {count}" for hops, count in report["lookup_hops"].items())
        lines.append(f"lookups     arrived after hops: {hops}")
    return lines


def _traffic(report: dict[str, Any]) -> list[str]:
    if not report["traffic"]:
        return []
    lines = ["", "traffic               flows    sent delivered  lost refused excused   ms p50   ms p95  hops p50  max"]
    for entry in report["traffic"]:
        latency, hops = entry["latency_ms"] or {}, entry["hops"] or {}
        lines.append(
            f"  {entry['name']:<18}{entry['flows']:>7}{entry['sent']:>8}{entry['delivered']:>10}{entry['lost']:>6}"
            f"{entry['refused']:>8}{entry['excused']:>8}{latency.get('p50', 0):>9.1f}{latency.get('p95', 0):>9.1f}"
            f"{hops.get('p50', 0):>10.0f}{hops.get('max', 0):>5.0f}"
        )
        lines += [f"    {text}" for text in entry["first_lost"][:3]]
    return lines


def _messages(report: dict[str, Any]) -> list[str]:
    lines = ["", "messages received           count        bytes"]
    for name, entry in report["messages"].items():
        lines.append(f"  {name:<22}{entry['count']:>9}{entry['bytes']:>13}")
    for phase, rate in report["rates"].items():
        if rate is not None:
            name = phase.replace("_", "-")
            lines.append(f"  {name}: {rate['frames']:.1f} frames and {rate['bytes']:.0f} bytes per node and second")
    medium = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in report["medium"].items() if count)
    return [*lines, f"  on the wires: {medium}"]


def _expectations(report: dict[str, Any]) -> list[str]:
    if not report["expectations"]:
        return []
    lines = ["", "expected"]
    for entry in report["expectations"]:
        mark = "ok " if entry["met"] else "NOT"
        lines.append(f"  {mark} {entry['text']}: {entry['measured']}")
    return lines
