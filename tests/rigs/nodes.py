"""Real daemons on hosts: their configuration, their life, their control socket, their log."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from meshnode.identity import Identity
from tests.rigs import control, processes
from tests.rigs.hosts import Host
from tests.rigs.waiting import NotInTime, wait_until

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "rigs" / "plugins"
"""Twisted plug-ins of ours: carriers and radios that only tests have."""
TUN = "fips0"


@dataclass(frozen=True)
class Program:
    """How a daemon is started: a command line in which `{config}` stands for the configuration file."""

    name: str
    template: str

    def command(self, config: Path) -> list[str]:
        return [part.replace("{config}", str(config)) for part in shlex.split(self.template)]


def our_program() -> Program:
    """Return the node of this checkout, or the command line in MESHNODE_COMMAND."""
    twistd = Path(sys.executable).with_name("twistd")
    template = f"{shlex.quote(str(twistd))} --nodaemon --pidfile= meshnode --config {{config}}"
    return Program("meshnode", os.environ.get("MESHNODE_COMMAND") or template)


def environment() -> dict[str, str]:
    """Return what makes Python programs find this checkout before any installed copy."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), str(PLUGINS), os.environ.get("PYTHONPATH"))))}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it, mapping by mapping."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


class Node:
    """One daemon on one host. Its identity follows from its name, so a restarted node is the same node."""

    def __init__(self, name: str, host: Host, program: Program, settings: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.host = host
        self.program = program
        self.directory = host.directory / name
        self.directory.mkdir(exist_ok=True)
        self.identity = Identity(sha256(f"meshnode rig|{name}".encode()).digest())
        self.control_socket = self.directory / "control.sock"
        self.config_file = self.directory / "meshnode.yaml"
        self.log_file = self.directory / "log"
        self.settings = merged(self._defaults(), settings or {})
        self.process: subprocess.Popen[str] | None = None
        self.started_at = 0.0

    def _defaults(self) -> dict[str, Any]:
        return {
            "node": {
                "identity": {"nsec": self.identity.secret.hex()},
                "control": {"socket_path": str(self.control_socket)},
            },
            "tun": {"enabled": True, "name": TUN, "mtu": 1280},
            "dns": {"enabled": True, "bind_addr": "127.0.0.1", "port": 53},
            "transports": {"udp": {"bind_addr": "0.0.0.0:2121", "mtu": 1472}},
            "peers": [],
        }

    @property
    def npub(self) -> str:
        return self.identity.npub

    @property
    def address(self) -> str:
        """The mesh IPv6 address."""
        return self.identity.peer.ipv6_text

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def dials(self, other: Node, address: str, port: int = 2121, transport: str = "udp") -> None:
        """Make `other` a static peer of this node, or give it one more address, tried after those before."""
        endpoint = {"transport": transport, "addr": f"{address}:{port}"}
        for peer in self.settings["peers"]:
            if peer["npub"] == other.npub:
                peer["addresses"].append({**endpoint, "priority": 100 + len(peer["addresses"])})
                return
        self.settings["peers"].append({"npub": other.npub, "alias": other.name, "addresses": [endpoint]})

    def carries(self, **transports: Any) -> None:
        """Have these transports and no others."""
        self.settings["transports"] = transports

    def transport(self, kind: str) -> dict[str, Any]:
        """Return the row of show_transports for the one transport of a kind."""
        (row,) = [row for row in self.ask("show_transports")["transports"] if row["type"] == kind]
        return dict(row)

    def redirect(self, address: str, instead: str) -> None:
        """Dial `instead` where so far `address` was to be dialled, both with their ports; before the start."""
        for peer in self.settings["peers"]:
            for endpoint in peer["addresses"]:
                if endpoint["addr"] == address:
                    endpoint["addr"] = instead

    def start(self) -> None:
        """Write the configuration (JSON is YAML) and start the daemon; its output is appended to the log."""
        self.config_file.write_text(json.dumps(self.settings, indent=2) + "\n")
        with self.log_file.open("a") as log:
            self.started_at = time.monotonic()
            self.process = self.host.start(
                self.program.command(self.config_file), output=log, environment=environment()
            )

    def is_ready(self) -> bool:
        """Tell whether the daemon answers and, where it should have one, its network interface is up."""
        self._must_live()
        try:
            status = self.status()
        except OSError:
            return False
        return not self.settings["tun"]["enabled"] or status["tun_state"] not in ("-", "configured", "disabled")

    def _must_live(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with status {self.process.returncode}\n{self.log_tail()}")

    def wait_ready(self, deadline: float = 10.0) -> float:
        """Return once the daemon answers; the value is the time since it was started, in seconds."""
        wait_until(self.is_ready, deadline, f"{self.name} is up", interval=0.005)
        return time.monotonic() - self.started_at

    def ask(self, command: str, **params: Any) -> Any:
        return control.ask(self.control_socket, command, **params)

    def status(self) -> dict[str, Any]:
        return dict(self.ask("show_status"))

    def peers(self) -> dict[str, dict[str, Any]]:
        """Return the rows of show_peers by npub."""
        return {row["npub"]: row for row in self.ask("show_peers")["peers"]}

    def is_connected_to(self, others: Sequence[Node]) -> bool:
        self._must_live()
        rows = self.peers()
        return all(rows.get(other.npub, {}).get("connectivity") == "connected" for other in others)

    def wait_connected(self, *others: Node, deadline: float = 10.0) -> None:
        names = ", ".join(other.name for other in others)
        try:
            wait_until(lambda: self.is_connected_to(others), deadline, f"{self.name} is connected to {names}")
        except NotInTime as late:
            raise NotInTime(f"{late}\n{self.log_tail()}") from None

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit status."""
        assert self.process is not None
        return processes.end(self.process, grace=10.0)

    def kill(self) -> None:
        assert self.process is not None
        processes.kill(self.process)

    def suspend(self) -> None:
        """Let the daemon stand still, as if the machine slept."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended daemon go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def rss_kib(self) -> int:
        return processes.rss_kib(self.pid)

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.pid)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of the log under a heading, for failure messages."""
        return "\n".join([f"--- log of {self.name}", *self.log().splitlines()[-lines:]])
