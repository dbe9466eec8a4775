"""Bar charts as SVG, small enough to be read as text."""

from __future__ import annotations

from xml.sax.saxutils import escape

_COLOURS = ("#2f6f9f", "#c58b2a", "#6a9a4b")
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 170, 640, 16, 14, 34


def bars(title: str, groups: dict[str, dict[str, float]]) -> str:
    """Horizontal bars: `groups` maps the words for a group to the value of each contender in it."""
    most = max((value for group in groups.values() for value in group.values()), default=1.0) or 1.0
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    parts, y = [], _TOP
    for words, group in groups.items():
        middle = y + len(group) * _BAR / 2 + 4
        parts.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(words)}</text>')
        for name, value in group.items():
            length = max(1, round((_WIDTH - _LEFT - 70) * value / most))
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{length}" height="{_BAR - 2}" fill="{colour}"/>')
            parts.append(f'<text x="{_LEFT + length + 6}" y="{y + 12}">{value:.4g}</text>')
            y += _BAR
        y += _GAP
    for number, name in enumerate(names):
        x = _LEFT + number * 150
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{_COLOURS[number % len(_COLOURS)]}"/>')
        parts.append(f'<text x="{x + 18}" y="{y + 11}">{escape(name)}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 22}" width="{_WIDTH}" height="{y + 22}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>\n{body}\n</svg>\n'
    )
