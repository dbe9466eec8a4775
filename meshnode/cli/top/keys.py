"""The keys of the screen, for its own help and for the manual page."""

from __future__ import annotations

KEYS = (
    ("1-9", "one of the nine tabs; so does a click on it"),
    ("Tab", "into the tab and out; arrows move, PgUp and PgDn scroll"),
    ("Enter", "everything about the peer under the cursor"),
    ("d", "disconnect that peer (asks first)"),
    ("m, w", "on Graphs: another metric, another window"),
    ("click", "a click on a title sorts by that column"),
    ("p", "hold the screen still, and go on"),
    ("?", "this help"),
    ("q, Ctrl-C", "leave"),
)
"""Key and what it does."""


def help_text() -> str:
    """One key a line."""
    return "".join(f"{key:<14}{what}\n" for key, what in KEYS)
