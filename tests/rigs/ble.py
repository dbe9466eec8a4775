"""Virtual Bluetooth for real nodes: start the air, give each node a device on it, cut and mend what lies between."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.rigs import processes

ROOT = Path(__file__).resolve().parents[2]


class Air:
    """The air as a child process; it ends with this program. Unix sockets reach it from any network namespace."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "air"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.rigs.ble_air", str(self.socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the virtual air did not start; is bumble installed?")

    def settings(self, number: int, **more: Any) -> dict[str, Any]:
        """Return a section for `transports.ble` that uses the device with this number."""
        return {"adapter": f"air:{self.socket}#{device(number)}", **more}

    def cut(self, one: int, other: int) -> None:
        """Let two devices neither hear nor reach each other any more."""
        self._order("cut", one, other)

    def mend(self, one: int, other: int) -> None:
        self._order("mend", one, other)

    def unplug(self, number: int) -> None:
        """Remove an adapter from its machine."""
        self._order("unplug", number)

    def plug(self, number: int) -> None:
        self._order("plug", number)

    def _order(self, operation: str, *numbers: int) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            control.settimeout(10.0)
            control.connect(str(self.socket))
            control.send(json.dumps({"op": operation, "devices": [device(number) for number in numbers]}).encode())
            control.recv(100)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        processes.end(self._process)
        self._process.stdout.close()


def device(number: int) -> str:
    """Return the address of a device; virtual controllers take random ones only, which begin with C0 or more."""
    return f"F0:73:00:00:00:{number:02X}"


def address(number: int) -> str:
    """Return what to write as `addr` of a peer that has this device."""
    return f"hci0/{device(number)}"
