"""A real browser without a window."""

from __future__ import annotations

import subprocess
from pathlib import Path

PROGRAM = "chromium"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


def command(directory: Path, *arguments: str) -> list[str]:
    """The command line with a profile of its own in `directory`."""
    return [PROGRAM, *_FLAGS, f"--user-data-dir={directory / 'profile'}", *arguments]


def document(directory: Path, url: str, milliseconds: int = 4000) -> str:
    """The page as it stands after its scripts have run for that long, in time of the browser's own."""
    arguments = ("--dump-dom", f"--virtual-time-budget={milliseconds}", url)
    done = subprocess.run(command(directory, *arguments), capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def screenshot(directory: Path, url: str, picture: Path, size: tuple[int, int], milliseconds: int = 6000) -> None:
    """Write what the page looks like."""
    arguments = (
        f"--screenshot={picture}", f"--window-size={size[0]},{size[1]}", f"--virtual-time-budget={milliseconds}", url,
    )  # fmt: skip
    subprocess.run(command(directory, *arguments), capture_output=True, timeout=90, check=True)
