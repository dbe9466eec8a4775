"""Wait until a node that is just starting answers, then print who it is, where it listens and what to type next.

Prints nothing for a node that does not start: it says itself why.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshnode.config.errors import ConfigError
from meshnode.config.load import load
from meshnode.config.schema import Config
from meshnode.paths import CONTROL_SOCKET, socket_path

PLACEHOLDER = "ADDRESS-OF-THIS-MACHINE"
RECORD = Path("/run/meshnode/resolver.json")
"""Where a node notes that it has taught the system's resolver `.fips`."""

_START_SECS = 30.0
_NAMES_SECS = 1.5
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}

Row = dict[str, Any]


def main() -> None:
    config, pid = Path(sys.argv[1]), int(sys.argv[2])
    try:
        settings = load(config, os.environ, Path.cwd()).config
    except ConfigError:
        return
    if not settings.node.control.enabled:
        return
    path = str(socket_path(settings.node.control.socket_path, CONTROL_SOCKET, os.environ))
    status = _until(lambda: _status(path, pid), _START_SECS, pid)
    if status is None:
        return
    rows = _ask(path, "show_transports")["transports"]
    names = _names(settings, status, pid)
    print(panel(status, rows, config, names, own_address(_bound(rows), status)), flush=True)


def _ask(path: str, command: str) -> Row:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(path)
        connection.sendall(json.dumps({"command": command}).encode() + b"\n")
        answer = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
    data: Row = answer["data"]
    return data


def _until(condition: Callable[[], Any], seconds: float, pid: int) -> Any:
    """Return what `condition` returns as soon as that is true, None when time or the process has ended before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and Path(f"/proc/{pid}").exists():
        if found := condition():
            return found
        time.sleep(0.1)
    return None


def _status(path: str, pid: int) -> Row | None:
    """Return the status of the node with that process id once its start is over."""
    try:
        status = _ask(path, "show_status")
    except (OSError, ValueError, KeyError):
        return None
    return status if status.get("pid") == pid and status["tun_state"] != "configured" else None


def _names(settings: Config, status: Row, pid: int) -> str:
    """Return whether names resolve on this machine, as far as the node has seen to it itself."""
    if not settings.dns.enabled:
        return "off: dns.enabled is false in the settings"
    if status["tun_state"] != "active":
        return "off: there is no interface"
    if settings.meshnode.resolver == "none":
        return "off: meshnode.resolver is none in the settings"
    backend = _until(lambda: _recorded(pid), _NAMES_SECS, pid)
    return f"on ({backend})" if backend else "not set up here; the log above says what to do"


def _recorded(pid: int) -> str | None:
    try:
        entry = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return None
    return entry["backend"] if entry["owner"].startswith(f"{pid}:") else None


def panel(status: Row, transports: list[Row], config: Path, names: str, own: str) -> str:
    """Return the text; `names` says whether names resolve here, `own` is this machine's address for others."""
    ports = ", ".join(f"{row['type']} {row['local_addr']}" for row in transports if row.get("local_addr"))
    return f"""
  npub        {status["npub"]}
  name        {status["npub"]}.fips
  address     {status["ipv6_addr"]}
  listening   {ports or "nowhere"}
  interface   {status["tun_name"]} ({status["tun_state"]})
  names       {names}
  settings    {config}

{_next_step(status, config)}

peers:
  - npub: {status["npub"]}
    addresses:
      - transport: udp
        addr: "{own}:{_bound(transports)[1]}"
"""


def _next_step(status: Row, config: Path) -> str:
    """Return what to do with the lines below it: nobody can ping a node that has no interface."""
    copy = "put this into its meshnode.yaml (it is written by its first script/run)"
    if status["tun_state"] == "active":
        return f"""  Next, on a second machine: {copy}, start it,
  and type there: ping {status["ipv6_addr"]}
  If its own panel says that names are on: ping {status["npub"]}.fips"""
    program = Path(__file__).with_name("run")
    reason = "the settings turn it off"
    if status["tun_state"] != "disabled":
        reason = "the log above says why" if os.geteuid() == 0 else f"start with: sudo {program} --config {config}"
    return f"""  Without an interface this node carries what others send but answers no ping ({reason}).

  To make it the peer of a second machine: {copy}."""


def _bound(transports: list[Row]) -> tuple[str, str]:
    """Return host and port the first transport listens at."""
    local = next((row["local_addr"] for row in transports if row.get("local_addr")), "0.0.0.0:2121")
    host, _, port = local.rpartition(":")
    return host.strip("[]"), port


def own_address(bound: tuple[str, str], status: Row) -> str:
    """Return the address other machines most likely reach a socket bound to `bound` at, with brackets where needed.

    That is the address bound to, else the one packets to far away leave from, else any that reaches beyond its cable.
    """
    host = bound[0]
    if host not in ("0.0.0.0", "::"):
        return _bracketed(host)
    families = [socket.AF_INET] if host == "0.0.0.0" else [socket.AF_INET, socket.AF_INET6]
    return next(
        (
            _bracketed(address)
            for find in (_towards_elsewhere, _configured)
            for family in families
            for address in find(family, status["tun_name"])
        ),
        PLACEHOLDER,
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _towards_elsewhere(family: socket.AddressFamily, tun: str) -> list[str]:
    """Return the source address of packets along the default route, which never is the TUN; nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[family], 9))
            return [probe.getsockname()[0]]
    except OSError:
        return []


def _configured(family: socket.AddressFamily, tun: str) -> list[str]:
    """Return addresses with more than link scope of interfaces other than `tun`, in the kernel's order."""
    from pyroute2 import IPRoute

    try:
        with IPRoute() as kernel:
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in kernel.get_links()}
            rows = [row for row in kernel.get_addr(family=family, scope=0) if names.get(row["index"]) != tun]
    except OSError:
        return []
    return [row.get_attr("IFA_LOCAL") or row.get_attr("IFA_ADDRESS") for row in rows]


if __name__ == "__main__":
    main()
