"""Small text files among those of other programs: read with a bound, written whole, known as ours by a marker."""

from __future__ import annotations

import errno
import os
from pathlib import Path

MARKER = "# Written by meshnode while it runs; removed when it stops."
"""First line of every file this program leaves in somebody else's directory."""

_MAX_FILE = 1 << 20


def read_text(path: Path) -> str | None:
    """Return the text of a file, undecodable bytes preserved; None when there is no such file. Raises OSError."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read(_MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file in one step; a file that is a mount point of its own is written in place. Raises OSError.

    The permissions of a file that exists are kept, a new one gets `mode`; the directory is made when it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("utf-8", "surrogateescape")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
            os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno != errno.EBUSY:
            raise
        path.write_bytes(data)


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
