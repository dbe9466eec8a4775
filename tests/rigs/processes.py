"""Child processes that are ended by their own pid, and what /proc tells about them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def end(process: subprocess.Popen[str], grace: float = 5.0) -> int:
    """Ask a child to stop, insist after `grace` seconds, and return its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(10)


def kill(process: subprocess.Popen[str]) -> None:
    """End a child without giving it a chance to tidy up."""
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time a process and its finished children have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS


def rss_kib(pid: int) -> int:
    """Return the resident memory of a process in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has no memory: it has ended")
