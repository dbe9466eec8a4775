"""A `Host` is a network namespace with mounts of its own, so it has its own interfaces and its own resolver.

It lives as long as one small keeper process, which lives as long as its standard input, which is ours. Whatever way
this program ends, hosts, interfaces and cables are gone with it, and no name is left in /run/netns.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from tests.rigs import kernel, processes

# /run is hidden so that a node in here finds no resolver service of the real machine to configure.
_KEEPER = """
set -e
target=$(readlink -m /etc/resolv.conf)
mount -t tmpfs tmpfs /run
case $target in /run/*) mkdir -p "$(dirname "$target")" && : > "$target" ;; esac
if [ -e "$target" ]; then mount --bind "$1" "$target"; fi
ip link set lo up
echo ready
exec cat > /dev/null
"""
_RESOLVER = "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n"


class RigError(RuntimeError):
    """The laboratory itself could not be built: a missing right or a missing program."""


class Host:
    """One machine of the laboratory. Programs started here die with us; `close` ends them and the host."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        resolver = directory / "resolv.conf"
        resolver.write_text(_RESOLVER)
        self._keeper = self._start_keeper(resolver)
        self.pid = self._keeper.pid
        self._network = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._mounts = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._running: list[subprocess.Popen[str]] = []

    def _start_keeper(self, resolver: Path) -> subprocess.Popen[str]:
        keeper = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _KEEPER, "keeper", str(resolver)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert keeper.stdout is not None
        assert keeper.stderr is not None
        if keeper.stdout.readline() != "ready\n":
            keeper.kill()
            raise RigError(f"cannot make a network namespace: {keeper.stderr.read().strip()}")
        return keeper

    def start(
        self,
        command: Sequence[str],
        *,
        output: IO[str] | int = subprocess.DEVNULL,
        errors: IO[str] | int = subprocess.STDOUT,
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program on this host, in the host's directory."""
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=kernel.entering(self._network, self._mounts, str(self.directory)),
        )
        self._running.append(process)
        return process

    def run(
        self, command: Sequence[str], timeout: float = 20.0, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on this host to its end; raises `subprocess.TimeoutExpired`."""
        process = self.start(command, output=subprocess.PIPE, errors=subprocess.PIPE, environment=environment)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            processes.kill(process)
            raise
        finally:
            self._running.remove(process)
        return subprocess.CompletedProcess(list(command), process.returncode, stdout, stderr)

    def ip(self, arguments: str) -> str:
        """Run the ip program with `arguments`; raises `RigError` with its complaint."""
        done = self.run(["ip", *arguments.split()])
        if done.returncode != 0:
            raise RigError(f"{self.name}: ip {arguments}: {done.stderr.strip()}")
        return done.stdout

    def inside(self) -> AbstractContextManager[None]:
        """Be on this host's network for a moment, to make sockets."""
        return kernel.network_namespace(self._network)

    def socket(self, family: int = socket.AF_INET6, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Return a new socket that belongs to this host."""
        with self.inside():
            return socket.socket(family, kind)

    def has_interface(self, name: str) -> bool:
        """Tell whether an interface of that name exists here."""
        with self.inside():
            return name in [interface for _, interface in socket.if_nameindex()]

    def ask_to_end(self) -> None:
        """Ask what still runs here to stop, without waiting for it."""
        for process in self._running:
            if process.poll() is None:
                process.terminate()

    def close(self) -> None:
        """End what still runs here, then the host itself."""
        for process in self._running:
            processes.end(process)
        self._running.clear()
        for stream in (self._keeper.stdin, self._keeper.stdout, self._keeper.stderr):
            if stream is not None:
                stream.close()
        os.close(self._network)
        os.close(self._mounts)
        self._keeper.wait(10)


def wire(left: Host, right: Host, left_name: str = "eth0", right_name: str = "eth0") -> None:
    """Join two hosts by a veth pair without any IP address on it."""
    left.ip(f"link add {left_name} type veth peer name {right_name} netns {right.pid}")
    for host, name in ((left, left_name), (right, right_name)):
        host.ip(f"link set {name} up")


def cable(left: Host, right: Host, subnet: str, left_name: str = "eth0", right_name: str = "eth0") -> tuple[str, str]:
    """Join two hosts by a veth pair; `subnet` is the first three octets. Returns the address of either end."""
    wire(left, right, left_name, right_name)
    for host, name, last in ((left, left_name, 1), (right, right_name, 2)):
        host.ip(f"addr add {subnet}.{last}/24 dev {name}")
    return f"{subnet}.1", f"{subnet}.2"


class Bridge:
    """An Ethernet switch in a host of its own; every joined host gets the next address of the subnet, from .10 on."""

    def __init__(self, hub: Host, subnet: str) -> None:
        self.hub = hub
        self.subnet = subnet
        self._joined = 0
        hub.ip("link add br0 type bridge")
        hub.ip("link set br0 up")

    def join(self, host: Host, interface: str = "eth0") -> str:
        """Plug a host in and return its address."""
        address = f"{self.subnet}.{10 + self._joined}"
        self.plug(host, interface)
        host.ip(f"addr add {address}/24 dev {interface}")
        return address

    def plug(self, host: Host, interface: str = "eth0") -> str:
        """Plug a host in without any IP address; returns the name of the port at this end."""
        port = f"port{self._joined}"
        self._joined += 1
        self.hub.ip(f"link add {port} type veth peer name {interface} netns {host.pid}")
        self.hub.ip(f"link set {port} master br0 up")
        host.ip(f"link set {interface} up")
        return port


def lose_first(switch: Bridge, count: int, match: str) -> None:
    """Let `switch` lose the first `count` frames that `match`, in nft's words, from each of its first two ports."""
    rules = "add table netdev q"
    for port in range(2):
        rules += (
            f"; add chain netdev q c{port} {{ type filter hook ingress device port{port} priority 0; }}"
            f"; add rule netdev q c{port} {match} numgen inc mod 1000000 < {count} drop"
        )
    done = switch.hub.run(["nft", rules])
    if done.returncode != 0:
        raise RigError(f"nft: {done.stderr}")
