"""A local network with hosts that know nothing of a mesh, a gateway, and a node behind it that serves pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from tests.rigs import control, processes
from tests.rigs.hosts import Host
from tests.rigs.labs import Lab, Pair
from tests.rigs.nodes import Program, environment
from tests.rigs.waiting import wait_until

POOL = "fd01::/112"
LAN = "fd02::"
NAMES_PORT = 5353
RUNNING = "fips-gateway running"


def gateway_program(python: str = sys.executable) -> Program:
    return Program("meshnode-gateway", f"{python} -m meshnode.gateway.program --config {{config}}")


class GatewayRig:
    """`near` runs the gateway beside its node, `far` serves pages; `clients` are hosts of the LAN `eth1` of `near`.

    Clients send everything for the pool to the gateway and ask it for names, as a router would make them.
    """

    def __init__(
        self,
        lab: Lab,
        settings: Mapping[str, Any] | None = None,
        clients: int = 2,
        node: Program | None = None,
        gateway: Program | None = None,
    ) -> None:
        self.pair = Pair(lab, node, node)
        self.near, self.far = self.pair.left, self.pair.right
        self.pair.left_dials()
        self._program = gateway or gateway_program()
        self.log_file = self.near.directory / "gateway.log"
        self.process: subprocess.Popen[str] | None = None
        self._ports = count(20_000)
        self.clients = [self._client(lab, number) for number in range(clients)]
        self.near.host.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
        self.near.settings["dns"] = {"enabled": True, "bind_addr": "::1", "port": 5354}
        self.near.settings["gateway"] = {
            "enabled": True,
            "pool": POOL,
            "lan_interface": "lan",
            "dns": {"listen": f"[::]:{NAMES_PORT}", "upstream": "[::1]:5354", "ttl": 5},
            "pool_grace_period": 5,
            **(settings or {}),
        }

    def _client(self, lab: Lab, number: int) -> Host:
        """Join one more host to the bridge `lan` of the gateway's host."""
        client, gateway = lab.host(f"client-{number}"), self.near.host
        if not number:
            gateway.ip("link add lan type bridge")
            gateway.ip("link set lan up")
            gateway.ip(f"-6 addr add {LAN}1/64 dev lan nodad")
        gateway.ip(f"link add port{number} type veth peer name eth0 netns {client.pid}")
        gateway.ip(f"link set port{number} master lan up")
        client.ip(f"-6 addr add {LAN}{20 + number}/64 dev eth0 nodad")
        client.ip("link set eth0 up")
        client.ip(f"-6 route add default via {LAN}1 dev eth0")
        return client

    # -- life

    def start(self) -> GatewayRig:
        self.pair.start()
        self.start_gateway()
        return self

    def launch(self) -> subprocess.Popen[str]:
        """Start the gateway program without waiting for anything."""
        with self.log_file.open("a") as log:
            self.process = self.near.host.start(
                self._program.command(self.near.config_file), output=log, environment=environment()
            )
        return self.process

    def start_gateway(self, deadline: float = 15.0) -> None:
        seen = self.log().count(RUNNING)
        process = self.launch()

        def is_running() -> bool:
            assert process.poll() is None, f"the gateway ended with {process.returncode}\n{self.log()}"
            return self.log().count(RUNNING) > seen

        wait_until(is_running, deadline, f"the gateway runs\n{self.log()}")

    def stop_gateway(self) -> int:
        assert self.process is not None
        return processes.end(self.process, grace=10.0)

    def kill_gateway(self) -> None:
        assert self.process is not None
        processes.kill(self.process)

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    # -- what there is to see

    def ask(self, command: str) -> Any:
        with self.near.host.inside():
            return control.ask(self.socket_path, command)

    @property
    def socket_path(self) -> Path:
        """The gateway's socket as seen from outside its host's mounts."""
        return Path(f"/proc/{self.near.host.pid}/root/run/fips/gateway.sock")

    def rules(self) -> str:
        return self.near.host.run(["nft", "list", "ruleset"]).stdout

    def kernel_state(self) -> tuple[str, list[str], str]:
        """Everything a gateway may have changed; link-local addresses come and go by themselves."""
        host = self.near.host
        routes = host.ip("-6 route show table all type local").splitlines()
        return self.rules(), [line for line in routes if " fe80:" not in line], host.ip("-6 neigh show proxy")

    def resolve(self, name: str, client: int = 0, kind: str = "AAAA", *options: str) -> list[str]:
        """Ask the gateway for `name` from a LAN client; returns what dig prints with +short."""
        return self.question(name, client, "+short", *options, kind).split()

    def question(self, name: str, client: int = 0, *options: str) -> str:
        """Ask the gateway for the IPv6 address of `name` from a LAN client; returns all that dig prints."""
        # Left to itself dig shares ports (SO_REUSEPORT): two at once may get the same one, and one the other's answer.
        own = ["-b", f"::#{next(self._ports)}", "-p", str(NAMES_PORT), f"@{LAN}1"]
        command = ["dig", "+time=6", "+tries=1", *own, name, *(options or ("AAAA",))]
        return self.clients[client].run(command).stdout

    def fetch(self, address: str, port: int = 8000, client: int = 0, path: str = "") -> str:
        done = self.clients[client].run(["curl", "-sg", "-m", "10", f"http://[{address}]:{port}/{path}"])
        return done.stdout if done.returncode == 0 else f"curl: {done.returncode}"

    def serve_pages(self, host: Host, address: str, directory: Path, port: int = 8000) -> None:
        """Serve the files of `directory` on `host`."""
        host.start([sys.executable, "-m", "http.server", str(port), "--bind", address, "--directory", str(directory)])
        wait_until(
            lambda: host.run(["ss", "-Hltn", f"sport = :{port}"]).stdout.strip(), 10, f"a web server on {address}"
        )


def start_dnsmasq(host: Host, server: str) -> None:
    """Start a dnsmasq that answers on port 53 of all of the host's addresses and asks only `server`, as in its file."""
    settings = ("--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=")
    host.start(["dnsmasq", *settings, f"--server={server}"])
