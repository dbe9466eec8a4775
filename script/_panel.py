"""Wait until a node that is just starting answers, then print who it is, where it listens and what to type next."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from meshnode.config.load import load
from meshnode.config.paths import CONTROL_SOCKET, socket_path

_DEADLINE = 30.0


def main() -> None:
    config, pid = Path(sys.argv[1]), int(sys.argv[2])
    loaded = load(config, os.environ, Path.cwd()).config
    path = str(socket_path(loaded.node.control.socket_path, CONTROL_SOCKET, os.environ))
    status = _wait(path, pid)
    if status is not None:
        transports = _ask(path, "show_transports")["transports"]
        print(_panel(status, transports, config), flush=True)


def _ask(path: str, command: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(path)
        connection.sendall(json.dumps({"command": command}).encode() + b"\n")
        answer = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
    data: dict[str, Any] = answer["data"]
    return data


def _wait(path: str, pid: int) -> dict[str, Any] | None:
    """Return the status of the node with that process id once its start is over, None when it never answers."""
    end = time.monotonic() + _DEADLINE
    while time.monotonic() < end and Path(f"/proc/{pid}").exists():
        try:
            status = _ask(path, "show_status")
        except (OSError, ValueError):
            status = {}
        if status.get("pid") == pid and status["tun_state"] != "configured":
            return status
        time.sleep(0.1)
    return None


def _panel(status: dict[str, Any], transports: list[dict[str, Any]], config: Path) -> str:
    ports = ", ".join(f"{row['type']} {row['local_addr']}" for row in transports if row.get("local_addr"))
    port = next((row["local_addr"].rpartition(":")[2] for row in transports if row.get("local_addr")), "2121")
    return f"""
  npub        {status["npub"]}
  name        {status["npub"]}.fips
  address     {status["ipv6_addr"]}
  listening   {ports or "nowhere"}
  interface   {status["tun_name"]} ({status["tun_state"]})
  settings    {config}

  Next, on a second machine: put this into its meshnode.yaml (it is written by its first script/run), start it,
  and type there: ping {status["npub"]}.fips

peers:
  - npub: {status["npub"]}
    addresses:
      - transport: udp
        addr: "{_own_address()}:{port}"
"""


def _own_address() -> str:
    """Return the address other machines most likely reach this one at; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "ADDRESS-OF-THIS-MACHINE"
        return str(probe.getsockname()[0])


if __name__ == "__main__":
    main()
