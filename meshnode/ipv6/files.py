"""Files this program leaves among those of other programs, known as ours by a marker."""

from __future__ import annotations

from pathlib import Path

from meshnode.files import read_text

MARKER = "# Written by meshnode while it runs; removed when it stops."
"""First line of every file this program leaves in somebody else's directory."""


def is_marked(path: Path) -> bool:
    """Tell whether a file exists, can be read and starts with our marker."""
    try:
        text = read_text(path)
    except OSError:
        return False
    return text is not None and text.partition("\n")[0] == MARKER


def remove_marked(path: Path) -> bool:
    """Remove a file if it is ours; tell whether there was one to remove. Raises OSError when it cannot be removed."""
    if not is_marked(path):
        return False
    path.unlink(missing_ok=True)
    return True
