"""A page about a run, complete in one file: verdict, map of the mesh at the end, curves, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from .result import Record, Result
from .text import render

_SIZE = 640
_MARGIN = 24
_CHART_WIDTH, _CHART_HEIGHT = 640, 120

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.4rem; } .passed { color: #1a7f37; } .failed { color: #b42318; }
main { display: flex; flex-wrap: wrap; gap: 2rem; } pre { font-size: 12px; line-height: 1.35; overflow-x: auto; }
svg { background: #f6f8fa; border-radius: 6px; }
.link { stroke: #c3ccd6; } .branch { stroke: #2463eb; stroke-width: 2; }
.node { fill: #2463eb; } .root { fill: #d97706; } .down { fill: #9aa5b1; } text { font-size: 10px; fill: #51606f; }
.curve { fill: none; stroke: #2463eb; stroke-width: 1.5; } .event { stroke: #d97706; stroke-dasharray: 3 3; }
"""


def page(result: Result) -> str:
    """The whole page. The same run gives the same page."""
    verdict = "passed" if result.passed else "failed"
    title = f"{result.scenario}, seed {result.seed}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head>',
        f'<body><h1>{escape(title)}: <span class="{verdict}">{verdict}</span></h1>',
        f"<p>{escape(result.report['about'])}</p><main><div>",
        _map(result.record),
        _curve(result, "frames per second on all links", 1),
        _curve(result, "packets delivered per second", 7),
        f"</div><pre>{escape(render(result))}</pre></main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _map(record: Record) -> str:
    """Nodes and links; branches of the tree in blue, roots in orange, what is down in grey."""
    at = {name: _point(*place) for name, place in record.places.items()}
    shapes = [_line(record, at, link) for link in record.links]
    labelled = len(at) <= 150
    for name, (x, y) in at.items():
        parent = record.parents[name]
        kind = "down" if parent is None else "root" if parent == name else "node"
        circle = f'<circle class="{kind}" cx="{x}" cy="{y}" r="{5 if labelled else 3}">'
        shapes.append(f"{circle}<title>{escape(name)}</title></circle>")
        if labelled:
            shapes.append(f'<text x="{x + 7:.1f}" y="{y + 3:.1f}">{escape(name)}</text>')
    return f'<svg width="{_SIZE}" height="{_SIZE}" role="img" aria-label="map">' + "".join(shapes) + "</svg>"


def _line(record: Record, at: dict[str, tuple[float, float]], link: tuple[str, str]) -> str:
    a, b = link
    kind = "branch" if record.parents[a] == b or record.parents[b] == a else "link"
    (x1, y1), (x2, y2) = at[a], at[b]
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _point(x: float, y: float) -> tuple[float, float]:
    inside = _SIZE - 2 * _MARGIN
    return round(_MARGIN + x * inside, 1), round(_MARGIN + y * inside, 1)


def _curve(result: Result, title: str, column: int) -> str:
    """How fast a column of the series grows, with a line for each event."""
    series: Sequence[Sequence[float]] = result.report["series"]
    rates = [(b[0], (b[column] - a[column]) / (b[0] - a[0])) for a, b in pairwise(series) if b[0] > a[0]]
    most = max((rate for _, rate in rates), default=0.0)
    if not most:
        return ""
    duration: float = result.report["duration_s"]

    def x(moment: float) -> float:
        return round(moment / duration * _CHART_WIDTH, 1)

    points = " ".join(f"{x(at)},{round((1 - rate / most) * (_CHART_HEIGHT - 4) + 2, 1)}" for at, rate in rates)
    marks = "".join(
        f'<line class="event" x1="{x(event["at_s"])}" x2="{x(event["at_s"])}" y1="0" y2="{_CHART_HEIGHT}">'
        f"<title>{escape(event['name'])} at {event['at_s']:g} s</title></line>"
        for event in result.report["happenings"][:200]
    )
    return (
        f"<p>{escape(title)} (most: {most:.4g})</p>"
        f'<svg width="{_CHART_WIDTH}" height="{_CHART_HEIGHT}" role="img" aria-label="{escape(title)}">{marks}'
        f'<polyline class="curve" points="{points}"/></svg>'
    )
