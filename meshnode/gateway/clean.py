"""Takes back what a gateway that was killed left in the kernel, without being one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from pathlib import Path

from .rules import REMOVAL
from .store import RECORD, Store

RunNow = Callable[[Sequence[str], str], str | None]
"""Runs a command with a text on its standard input; returns the first line of its complaint, None without any."""

_SECONDS = 10.0
_GONE = ("No such process", "No such file", "Cannot find device")


def run_now(command: Sequence[str], text: str) -> str | None:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if not done.returncode:
        return None
    return done.stderr.strip().partition("\n")[0] or f"exit status {done.returncode}"


def clean(record: Path = RECORD, run: RunNow = run_now) -> list[str]:
    """Remove rules, route and answers for addresses, as far as they are there; returns a line for what stays."""
    problems = []
    store = Store("", [], record)
    left = store.load()
    commands: list[tuple[list[str], str]] = [(["nft", "-f", "-"], REMOVAL)]
    if left is not None:
        commands.append((["ip", "-6", "route", "del", "local", left.pool, "dev", "lo"], ""))
        commands += [
            (["ip", "-6", "neigh", "del", "proxy", str(IPv6Address(lease.virtual)), "dev", name], "")
            for lease in left.leases
            for name in left.local
        ]
    for command, text in commands:
        complaint = run(command, text)
        if complaint is not None and not any(words in complaint for words in _GONE):
            problems.append(f"{' '.join(command)}: {complaint}")
    if not problems:
        store.remove()
    return problems
